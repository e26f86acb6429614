"""Names that were mistyped."""

from __future__ import annotations

import pytest

from weft.base.nearby import did_you_mean, unknown

KNOWN = ("blue", "green", "office", "node-1", "node-2", "node-12", "shop", "shop-front")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("bleu", "did you mean blue?"),
        ("Blue", "did you mean blue?"),
        ("node1", "did you mean node-1?"),
        ("node-7", ""),
        ("ofice", "did you mean office?"),
        ("shop-frnt", "did you mean shop-front or shop?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_what_may_have_been_meant(word: str, meant: str) -> None:
    assert did_you_mean(word, KNOWN) == meant


def test_the_whole_line() -> None:
    shows = "`weft network ls` shows those there are"
    assert unknown("network", "bleu", KNOWN, "weft network ls") == f"no network bleu: did you mean blue? {shows}"
    assert unknown("network", "zzz", (), "weft network ls") == f"no network zzz: {shows}"
