"""What is kept of a run that failed: one folder with everything that one would ask for next."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from chaos import stored
from chaos.model import HOSTS
from chaos.world import RUN, World
from weft.base.errors import WeftError
from weft.model.codec import encode

_DUMP = f"""
for c in "ip -d link" "ip addr" "ip -4 route show table all" "ip -6 route show table all" "ip neigh" "bridge fdb" \
  "nft list ruleset" "cat {RUN}/bird.conf" "cat {RUN}/sysctl.json" "birdc -s {RUN}/bird.ctl show protocols all"; do
  echo "=== $c"; $c 2>&1
done
for n in $(ls /run/netns); do
  for c in "ip -d link" "ip addr" "ip -4 route" "ip -6 route" "ip neigh" "bridge fdb"; do
    echo "=== $n: $c"; ip netns exec $n $c 2>&1
  done
done
"""


def keep(world: World, folder: Path, violations: list[str]) -> None:
    """Goes on where something cannot be had."""
    (folder / "violations").write_text("\n".join(violations) + "\n")
    for host in HOSTS:
        _written(folder / f"{host}.kernel", lambda host=host: world.sh(host, _DUMP).encode())  # type: ignore[misc]
        _written(folder / f"{host}.status", lambda host=host: encode(world.client(host).status()))  # type: ignore[misc]
        shutil.copy(world.lab.agent(host).log, folder / f"{host}.log")
        _written(folder / f"{host}.bird", lambda host=host: world.sh(host, f"cat {RUN}/bird.log").encode())  # type: ignore[misc]
    shutil.copy(world.etcd.log, folder / "etcd.log")
    _written(folder / "store", lambda: _store(world))


def _store(world: World) -> bytes:
    return b"".join(key.encode() + b" " + value + b"\n" for key, value in sorted(stored.dump(world).items()))


def _written(path: Path, content: Callable[[], bytes]) -> None:
    try:
        path.write_bytes(content())
    except (WeftError, OSError, subprocess.SubprocessError) as error:
        path.write_text(f"not to be had: {error}\n")
