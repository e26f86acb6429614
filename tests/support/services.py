"""Services in a lab: many connections to one, and who took them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import NamedTuple

from weft.lab.inside import Inside

_COUNT = """
import collections, json, socket, sys
address, port, count, protocol = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
answers, failed = collections.Counter(), collections.Counter()
for _ in range(count):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as sock:
        sock.settimeout(5)
        try:
            sock.connect((address, port))
            if protocol == "udp":
                sock.send(b"?")
            name, _, client = sock.recv(100).decode().split()
            answers[name + " " + client] += 1
        except OSError as error:
            failed[type(error).__name__] += 1
print(json.dumps([answers, failed]))
"""


class Spread(NamedTuple):
    """`by`: how many connections each member took. `seen`: whom they saw. `failed`: by what kind of error."""

    by: Counter[str]
    seen: set[str]
    failed: dict[str, int]


def spread(inside: Inside, address: str, port: int, count: int, protocol: str = "tcp") -> Spread:
    """So many connections, one after the other."""
    words = [sys.executable, "-SIc", _COUNT, address, str(port), str(count), protocol]
    answers, failed = json.loads(inside.run(words, check=True, timeout=120).stdout)
    by: Counter[str] = Counter()
    for answer, number in answers.items():
        by[answer.split()[0]] += number
    return Spread(by, {answer.split()[1] for answer in answers}, failed)


def is_even(by: Counter[str], members: int) -> bool:
    """Within four standard deviations of a binomial distribution, for each member."""
    total = sum(by.values())
    sigma = (total * (1 / members) * (1 - 1 / members)) ** 0.5
    return len(by) == members and all(abs(number - total / members) <= 4 * sigma for number in by.values())
