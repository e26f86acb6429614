"""Flannel's registry in etcd, and this node as one of its hosts (docs/flannel.md).

`config`, `lease`, `choice` and `guests` are pure: what the registry says, which subnet is to be taken, who the others are.
`registry` reads and writes; `member` keeps this node's entry in one registry and hears of the others; `members` has one for
each network that has a registry. `subnet_env` writes the files by which other programs on the host know the subnet.
"""
