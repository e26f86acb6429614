"""A stand-in for flanneld, for tests of clusters in which Weft's nodes and flannel's share one registry.

It is written from a description of flannel's registry, of the entries it makes and of its packets on the wire, and uses nothing
of Weft's: `ip`, `bridge`, `iptables`, etcd's JSON gateway and Python's own library. It is a program,

    PYTHONPATH=tests python -m support.flanneld --etcd-endpoint 192.168.1.1:2379 --etcd-prefix /coreos.com/network \
        --iface eth0 --subnet-file /run/flannel/subnet.env [--ip-masq]

    registry   etcd, the keys and values below the prefix
    config     what `PREFIX/config` says
    lease      which subnet is this host's, and how it stays so
    follow     the other hosts' leases, as events
    backends   what a lease means to this host's kernel: vxlan, host-gw
    pump       backend udp: a TUN device and a socket
    masquerade the rules of --ip-masq

It ends when its key is deleted, as flanneld does, and never takes down what it has set up.
"""
