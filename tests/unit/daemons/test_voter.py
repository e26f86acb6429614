"""What a voter is started with, as people are told of it."""

from __future__ import annotations

from weft.daemons.voter import Beginning


def test_who_founds_is_told_without_what_only_etcd_reads() -> None:
    beginning = Beginning(name="fd00::1", members="fd00::1=https://[fd00::1]:6787,fd00::2=https://[fd00::2]:6787")
    assert beginning.hosts == "fd00::1, fd00::2"
