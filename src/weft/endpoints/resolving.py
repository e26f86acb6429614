"""What is to be known before a container is made to ask for names (`weft attach --dns`)."""

from __future__ import annotations

from weft.api import types as t
from weft.base.errors import Invalid
from weft.cluster.view import View
from weft.compile import names
from weft.containers.find import Target
from weft.kernel.host import resolv_conf


def check(view: View, request: t.Attach, target: Target) -> None:
    """Raises Invalid."""
    if not request.resolv_conf:
        return
    resolv_conf.name_at(target.namespace.path)
    if not names.served(view, request.network):
        raise Invalid(f"network {request.network} has no names (its option dns is off): leave out --dns")
