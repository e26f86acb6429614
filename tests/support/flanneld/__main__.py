"""The program: see the package."""

from __future__ import annotations

import argparse
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from types import FrameType

from support.flanneld import masquerade
from support.flanneld.backends import Backend, HostGw, Vxlan, uplink
from support.flanneld.config import parse
from support.flanneld.follow import follow
from support.flanneld.lease import acquire, write_down
from support.flanneld.pump import Udp
from support.flanneld.registry import TTL, Event, Lease, Registry

BACKENDS: dict[str, type[Backend]] = {"vxlan": Vxlan, "host-gw": HostGw, "udp": Udp}
_RECHECK, _AGAIN = 10.0, 60.0

Work = list[Event] | str
"""What follows the registry has seen, or why this has to end; "" to renew now."""


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Flanneld:
    def __init__(self, registry: Registry, backend: Backend, own: IPv4Network) -> None:
        self._registry, self._backend, self._own = registry, backend, own
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._peers: dict[IPv4Network, Lease] = {}

    def run(self, margin: float) -> str:
        """Why it has ended. `margin`: seconds before its end that the lease is renewed."""
        self._backend.start(self._own, self._work.put)
        signal.signal(signal.SIGUSR1, self._asked)
        threading.Thread(target=self._follow, daemon=True).start()
        renewal, recheck = time.monotonic() + TTL - margin, time.monotonic() + _RECHECK
        while True:
            now = time.monotonic()
            if now >= recheck:
                self._backend.recheck()
                recheck = now + _RECHECK
            if now >= renewal:
                renewal = now + (TTL - margin if self._renewed() else _AGAIN)
            try:
                work = self._work.get(timeout=max(min(renewal, recheck) - now, 0))
            except queue.Empty:
                continue
            if work == "":
                renewal = now
            elif isinstance(work, str):
                return work
            elif any(event.subnet == self._own and event.lease is None for event in work):
                return "lease has been revoked"
            else:
                for event in work:
                    self._handle(event)

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        self._work.put("")

    def _follow(self) -> None:
        for events in follow(self._registry):
            self._work.put(events)

    def _renewed(self) -> bool:
        try:
            self._registry.renew(self._own, self._backend.value())
        except OSError as error:
            say(f"not renewed: {error}")
            return False
        say("lease renewed")
        return True

    def _handle(self, event: Event) -> None:
        if event.subnet == self._own:
            return
        lease = event.lease or self._peers.get(event.subnet)
        if lease is None or not self._backend.takes(lease):
            say(f"passed over: {event.subnet}")
            return
        try:
            if event.lease:
                self._peers[event.subnet] = lease
                self._backend.add(lease)
            else:
                self._backend.remove(self._peers.pop(event.subnet))
        except (subprocess.CalledProcessError, KeyError) as error:
            say(f"{event.subnet}: {error}")


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="flanneld")
    parser.add_argument("--etcd-endpoint", required=True)
    parser.add_argument("--etcd-prefix", default="/coreos.com/network")
    parser.add_argument("--iface", required=True)
    parser.add_argument("--subnet-file", type=Path, default=Path("/run/flannel/subnet.env"))
    parser.add_argument("--ip-masq", action="store_true")
    parser.add_argument("--subnet-lease-renew-margin", type=int, default=60, help="minutes")
    chosen = parser.parse_args(words)
    registry = Registry(chosen.etcd_endpoint, chosen.etcd_prefix)
    said = registry.config()
    if said is None:
        say(f"there is no {chosen.etcd_prefix}/config")
        return 1
    config = parse(said)
    backend = BACKENDS[config.kind](config, uplink(chosen.iface))
    own = acquire(registry, config, backend.value(), chosen.subnet_file)
    masquerade.set_up(config.kind, config.network, own, chosen.ip_masq)
    write_down(chosen.subnet_file, config, own, backend.mtu, chosen.ip_masq)
    say(f"lease {own}")
    say(Flanneld(registry, backend, own).run(60 * chosen.subnet_lease_renew_margin))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
