from ipaddress import ip_address

from weft.dns.resolvconf import ResolvConf, parse

FILE = """\
# written by somebody
nameserver 10.0.0.1
nameserver fd00::1 trailing
nameserver nonsense
nameserver fe80::1%eth0
options timeout:1
  options debug
domain example.org
search a.example.org b.example.org
options ndots:2
options attempts:1 rotate
sortlist 10.0.0.0/8
;nameserver 10.0.0.9
"""


def test_what_the_c_library_reads() -> None:
    found = parse(FILE)
    assert found.nameservers == tuple(map(ip_address, ("10.0.0.1", "fd00::1", "fe80::1%eth0")))
    assert found.search == ("a.example.org", "b.example.org")
    assert found.options == ("timeout:1", "ndots:2", "attempts:1", "rotate")


def test_the_last_of_search_and_domain_counts() -> None:
    assert parse("search a b\ndomain c\n").search == ("c",)


def test_what_is_written_is_read_again() -> None:
    one = ResolvConf((ip_address("127.0.0.11"),), ("weft.local",), ("ndots:1",))
    assert str(one) == "nameserver 127.0.0.11\nsearch weft.local\noptions ndots:1\n"
    assert parse(str(one)) == one and parse(str(ResolvConf())) == ResolvConf()
