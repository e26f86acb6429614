"""How fast iperf3 gets an amount of data from one namespace to another."""

from __future__ import annotations

import json

from support.namespaces import Namespace
from support.waiting import until


def throughput(source: Namespace, target: Namespace, address: str, mib: int) -> float:
    """Bit/s of TCP payload received."""
    target.sh("iperf3 -s -1 -D")

    def listens() -> bool:
        return ":5201 " in target.sh("ss -Hltn")

    until(listens, 20, "iperf3 to listen")
    said = json.loads(source.sh(f"iperf3 -J -c {address} -n {mib}M"))
    until(lambda: not listens(), 20, "iperf3 to end")
    return float(said["end"]["sum_received"]["bits_per_second"])
