"""Other servers' answers, kept within limits."""

import dns.message
import dns.rrset

from weft.dns import cache, message
from weft.dns.cache import Cache
from weft.dns.message import Answer

QUERY = message.parse(dns.message.make_query("example.org", "A").to_wire())


def answer(size: int = 100) -> bytes:
    got = dns.message.make_response(dns.message.make_query("example.org", "A"))
    got.answer = [dns.rrset.from_text("example.org.", 60, "IN", "A", "192.0.2.1")]
    return got.to_wire().ljust(size, b"\0")


def said(packet: bytes, life: int = 20) -> Answer:
    return message.read(packet)._replace(life=life)


def test_what_was_not_asked_for_the_longest_time_goes_first() -> None:
    kept = Cache(3, lambda: 0.0)
    for key in "abc":
        kept.put(key, answer(), said(answer()))
    assert kept.get("a", QUERY)
    kept.put("d", answer(), said(answer()))
    assert [key for key in "abcd" if kept.get(key, QUERY)] == ["a", "c", "d"] and len(kept) == 3


def test_it_holds_so_long_and_not_longer() -> None:
    now = [0.0]
    kept = Cache(3, lambda: now[0])
    kept.put("a", answer(), said(answer(), 20))
    kept.put("b", answer(), said(answer(), 3600))
    now[0] = 19.9
    assert dns.message.from_wire(kept.get("a", QUERY) or b"", ignore_trailing=True).answer[0].ttl == 41
    now[0] = 20
    assert kept.get("a", QUERY) is None and kept.get("b", QUERY)
    now[0] = cache.LONGEST
    assert kept.get("b", QUERY) is None and len(kept) == 0


def test_what_is_not_kept() -> None:
    large = answer(cache.LARGEST + 1)
    for most, packet, life in ((3, large, 20), (3, answer(), 0), (0, answer(), 20)):
        kept = Cache(most, lambda: 0.0)
        kept.put("a", packet, said(packet, life))
        assert len(kept) == 0
    kept = Cache(3, lambda: 0.0)
    kept.put("a", large[:-1], said(large))
    assert len(kept) == 1
