"""What repeats, for open connections, what rules decided about them before."""

from __future__ import annotations

from weft.kernel.host import flowtables


def forget(ns: str) -> None:
    """Nothing that was decided before this call is repeated after it, in this namespace: each connection is asked about again.
    Blocks. Raises Denied, Failed; NotFound where the namespace is gone."""
    flowtables.forget(ns)
