"""What Weft would do on this host if its agent ran, as commands. A program, for the host of a lab:

wanted.py NODE STORE-URL
"""

from __future__ import annotations

import asyncio
import sys
import time

from weft.cluster.view import View
from weft.compile.compiler import Compiler
from weft.datapaths.driver import MEANS, Host
from weft.hoststate import Union
from weft.kernel.host.facts import NAMES
from weft.kernel.linux import LinuxKernel
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.render import script
from weft.store.url import StoreOptions, open_store


async def model(node: str, url: str) -> View:
    view, store = View(node), open_store(url, StoreOptions())
    try:
        for prefix in view.prefixes():
            listing = await store.list(prefix)
            view.listed((prefix,), listing.items, listing.revision)
    finally:
        await store.close()
    return view


def main(node: str, url: str) -> None:
    view = asyncio.run(model(node, url))
    union, compiler = Union(), Compiler(view)
    kernel = LinuxKernel(union.desired)
    try:
        found = kernel.facts(view.nodes[node].uplink)
        compiler.host = Host(
            node=view.nodes[node],
            iptables=found.iptables,
            advertised=found.advertised,
            ipv6=found.ipv6,
            lacking=frozenset({*NAMES, *MEANS} - found.features),
        )
        for source in compiler.everything():
            union.set(source, compiler.contribution(source))
        sys.stdout.writelines(
            f"{line}\n" for line in script(Reconciler(kernel, union.desired, time.monotonic).dry_run().ops)
        )
    finally:
        kernel.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
