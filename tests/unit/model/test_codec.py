"""Values are decoded from any thread."""

from __future__ import annotations

import subprocess
import sys

import pytest

from weft.base.errors import Invalid
from weft.model import Network, decode

_ALL_AT_ONCE = """
import random, sys, threading
from weft.api.dump import HostDump
from weft.base.errors import Invalid
from weft.model import codec

sys.setswitchinterval(1e-4)
start = threading.Barrier(16)

def first() -> None:
    start.wait()
    for _ in range(random.randrange(3000)):
        pass
    for _ in range(5):
        try:
            codec.decode(HostDump, b'{"node": "a", "namespaces": []}')
        except Invalid:
            pass

threads = [threading.Thread(target=first) for _ in range(16)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


def test_the_first_values_of_a_class_decoded_by_many_threads_at_once() -> None:
    """In processes of their own: a class is learnt once in each, and what goes wrong is a segmentation fault."""
    ended = [subprocess.run([sys.executable, "-c", _ALL_AT_ONCE], capture_output=True, text=True) for _ in range(5)]
    assert [(done.returncode, done.stderr) for done in ended] == [(0, "")] * len(ended)


@pytest.mark.parametrize("data", [b'{"a":' * 100_000, b'{"zz":' + b"[" * 100_000])
def test_nesting_without_end_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(Invalid, match="not a Network"):
        decode(Network, data)
