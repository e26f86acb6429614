"""Names for containers: what a DNS server at 127.0.0.11 in each of them answers. It is given its sockets, opened in their
namespaces; which socket was asked tells which container asks. `message`, `names`, `answer` and `cache` do no I/O."""
