"""`weft policy apply|ls|show|rm`; what tells of its working is in modules of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import observed as o
from weft.api import types as t
from weft.cli import complete, differences, policy_counters, policy_explain, policy_log
from weft.cli.columns import Column, Table
from weft.cli.listing import listing
from weft.cli.options import NoWait, example, group
from weft.cli.output import Format, Output, blocks, complain, listed, mapped, show
from weft.cli.session import Waiting, client
from weft.cli.table import Cell, Page, Styled

app = group(
    "Who may talk to whom: Kubernetes' NetworkPolicy as it is, and Weft's own policies.",
    "weft policy apply -f web.yaml",
    "weft policy apply -f policies/ --dry-run",
    "weft policy ls",
    "weft policy show shop/web -o yaml",
    "weft policy explain client web --port 80",
)

Ref = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="NAME, NAMESPACE/NAME or KIND/NAMESPACE/NAME.", autocompletion=complete.policies
    ),
]
Refs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="As `weft policy show` takes them.", autocompletion=complete.policies),
]
File = typer.Option("--file", "-f", metavar="FILE|DIR|-", help="YAML; may be given several times.")
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")]


@app.command(
    "apply",
    epilog=example(
        "weft policy apply -f web.yaml -f db.yaml",
        "weft policy apply -f policies/ --dry-run",
        "kubectl get networkpolicies -A -o yaml | weft policy apply -f -",
    ),
)
def apply(
    ctx: typer.Context,
    file: Annotated[list[str], File],
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    output: Output = Format.TABLE,
) -> None:
    """Make or change policies, tiers, network sets and namespaces as the documents say. Nothing is applied where one of them
    has a fault. It is done when every host enforces it; hosts that do not within five seconds are named."""
    from weft.cli import policy_files

    agent = client(ctx)
    with Waiting("applying"):
        replies = [
            agent.apply_policies(t.ApplyPolicies(documents=part, dry_run=dry_run, wait=not no_wait))
            for part in policy_files.parts(policy_files.found(file))
        ]
    _tell(replies, output, dry_run)


def _rests(page: Page, found: t.PolicyList) -> Iterator[str]:
    """What policies rest on."""
    return blocks(
        TIERS.lines(page, found.tiers),
        NETWORK_SETS.lines(page, found.network_sets) if found.network_sets else (),
        NAMESPACES.lines(page, found.namespaces) if found.namespaces else (),
    )


POLICIES: Table[t.PolicyInfo] = Table(
    Column("POLICY", lambda p: p.id, whole=True),
    Column("TIER", lambda p: p.tier, spare=2),
    Column("ORDER", lambda p: _number(p.order), spare=1),
    Column("ABOUT", lambda p: _about(p)),
    Column("INGRESS", lambda p: _rules(p.ingress)),
    Column("EGRESS", lambda p: _rules(p.egress)),
    Column("KIND", lambda p: p.kind, shown=False),
    name=lambda p: p.id,
)
TIERS: Table[t.TierInfo] = Table(
    Column("TIER", lambda tier: tier.name),
    Column("ORDER", lambda tier: _number(tier.order)),
    Column("BY DEFAULT", lambda tier: tier.default),
    Column("POLICIES", lambda tier: tier.policies),
    name=lambda tier: f"tier/{tier.name}",
)
NETWORK_SETS: Table[t.NetworkSetInfo] = Table(
    Column("NETWORK SET", lambda s: s.id),
    Column("LABELS", lambda s: mapped(s.labels)),
    Column("CIDRS", lambda s: s.cidrs),
    name=lambda s: s.id,
)
NAMESPACES: Table[t.NamespaceInfo] = Table(
    Column("NAMESPACE", lambda n: n.name),
    Column("LABELS", lambda n: mapped(n.labels)),
    name=lambda n: f"namespace/{n.name}",
)


@listing(app, POLICIES, "weft policy ls", "weft policy ls -q", "weft policy ls -o json", things="policies", more=_rests)
def ls(ctx: typer.Context) -> t.PolicyList:
    """List policies in the order in which they are asked, tiers, network sets and namespaces."""
    return client(ctx).policies()


@app.command("show", epilog=example("weft policy show web", "weft policy show shop/web -o yaml"))
def one(ctx: typer.Context, ref: Ref, output: Output = Format.TABLE) -> None:
    """Show one policy, with what its rules have counted on this host; or a tier, network set or namespace. With -o yaml or
    json the document alone."""
    agent = client(ctx)
    with Waiting("asking for the policy"):
        found = agent.policy(ref)
        is_policy = found.id.partition("/")[0] not in ("tier", "networkset", "namespace")
        counters = agent.policy_counters(found.id) if output is Format.TABLE and is_policy else None
    show(found.document, output, lambda page, _: _shown(page, found, counters))


@app.command("rm", epilog=example("weft policy rm shop/web", "weft policy rm tier/audit", "weft policy rm -f web.yaml"))
def rm(
    ctx: typer.Context,
    ref: Refs = None,
    file: Annotated[list[str] | None, File] = None,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    output: Output = Format.TABLE,
) -> None:
    """Remove policies, tiers, network sets and namespaces, by name or as the documents name them. It is done as
    `weft policy apply` is."""
    if not ref and not file:
        raise typer.BadParameter("nothing to remove: give a NAME or --file")
    from weft.cli import policy_files

    parts = list(policy_files.parts(policy_files.found(file, last_first=True))) if file else [()]
    agent = client(ctx)
    with Waiting("removing"):
        replies = [
            agent.remove_policies(
                t.RemovePolicies(
                    refs=tuple(ref or ()) if n == 0 else (),
                    documents=part,
                    dry_run=dry_run,
                    wait=not no_wait,
                )
            )
            for n, part in enumerate(parts)
        ]
    _tell(replies, output, dry_run)


app.command("explain", epilog=policy_explain.EXAMPLES)(policy_explain.explain)
app.command("counters", epilog=policy_counters.EXAMPLES)(policy_counters.counters)
app.command("log", epilog=policy_log.EXAMPLES)(policy_log.log)


# ------------------------------------------------------------------------------------------------------- what was done


def _tell(replies: list[t.PolicyChanges], output: Format, dry_run: bool) -> None:
    notes = tuple(dict.fromkeys(note for reply in replies for note in reply.notes))
    for note in notes:
        complain(f"note: {note}")
    done = t.PolicyChanges(changes=tuple(c for reply in replies for c in reply.changes), notes=notes)
    show(done, output, _diff if dry_run else _changes)


def _changes(page: Page, done: t.PolicyChanges) -> Iterator[str]:
    return differences.done(page, done.changes)


def _diff(page: Page, done: t.PolicyChanges) -> Iterator[str]:
    return differences.would_be(page, done.changes)


# ------------------------------------------------------------------------------------------------------------- listing


def _about(policy: t.PolicyInfo) -> str:
    if policy.hosts is not None:
        return f"hosts {policy.hosts or 'all()'}"
    said = [
        policy.selector or "all",
        f"namespace {policy.namespace}" if policy.namespace else "",
        f"namespaces {policy.namespaces or 'all'}" if policy.namespaces is not None and not policy.namespace else "",
        f"networks {listed(policy.networks)}" if policy.networks else "",
    ]
    return "; ".join(filter(None, said))


def _rules(number: int | None) -> Cell:
    return Styled("-", "dim") if number is None else str(number)


def _number(order: float | None) -> str:
    return "last" if order is None else f"{order:g}" if order != int(order) else str(int(order))


def _shown(page: Page, found: t.PolicyDocument, counters: o.PolicyCounters | None) -> Iterator[str]:
    counted = policy_counters.counted(page, counters) if counters else ()
    yield from blocks([page.paint(found.id, "head")], differences.lines(found.document), counted)
