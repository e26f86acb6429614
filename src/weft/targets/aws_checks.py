"""What `weft doctor` looks at in EC2: whether each call is permitted, and how full the route tables are.

A call is tried as a dry run, which EC2 judges as it would judge the call itself, and does not carry out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from functools import partial
from typing import Any

from weft.api import types as t
from weft.base.errors import Denied, Failed
from weft.targets.ec2 import Ec2, Would, action_of
from weft.targets.protocol import Check
from weft.targets.tables import Table

QUOTA = ("vpc", "L-93826ACB")
"""Service Quotas' codes for routes per route table; IPv4 and IPv6 count apart."""
NEARLY = 0.8
"""Of the quota: from here on it is said."""
TEST_NET = "192.0.2.0/24"
"""RFC 5737: there is no such route."""


def checks(
    ec2: Ec2, quotas: Ec2, facts: Mapping[str, str], tables: Mapping[str, Table], ours: Set[str]
) -> Iterator[Check]:
    """`ours`: the tables that Weft writes to."""
    for operation, parameters in _calls(facts):
        yield partial(_permitted, ec2, operation, parameters)
    for name in sorted(ours & tables.keys()):
        yield partial(_room, quotas, tables[name])


def _calls(facts: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each that is made, with parameters that would do no harm."""
    interface, at = facts["interface"], {"RouteTableId": facts["table"], "DestinationCidrBlock": TEST_NET}
    yield "describe_route_tables", {"RouteTableIds": [facts["table"]]}
    yield "describe_network_interfaces", {"NetworkInterfaceIds": [interface]}
    yield "create_route", {**at, "NetworkInterfaceId": interface}
    yield "replace_route", {**at, "NetworkInterfaceId": interface}
    yield "delete_route", at
    yield "modify_network_interface_attribute", {"NetworkInterfaceId": interface, "SourceDestCheck": {"Value": False}}


async def _permitted(ec2: Ec2, operation: str, parameters: dict[str, Any]) -> t.Finding:
    action = action_of(operation)
    check = f"permission {action}"
    try:
        await ec2.call(operation, **parameters, DryRun=True)
    except Denied:
        return t.Finding(
            check=check,
            result="error",
            detail=f"the credentials do not permit {action}",
            advice="add it to the policy of the instance's role (docs/datapaths/aws-vpc.md has it whole)",
        )
    except (Would, Failed):  # a dry run that would fail otherwise is permitted all the same
        pass
    return t.Finding(check=check, result="ok", detail="granted")


async def _room(quotas: Ec2, table: Table) -> t.Finding:
    counts = table.count()
    most = max(counts.values(), default=0)
    told = " and ".join(f"{counts[fam]} of IPv{fam}" for fam in sorted(counts))
    check = f"routes of {table.route_table_id}"
    try:
        answer = await quotas.call("get_service_quota", ServiceCode=QUOTA[0], QuotaCode=QUOTA[1])
    except (Denied, Failed):
        detail = f"{told}; the quota is not known (servicequotas:GetServiceQuota is not permitted; it was 50 for years)"
        return t.Finding(check=check, result="ok", detail=detail)
    quota = int(answer["Quota"]["Value"])
    detail = f"{told}, of {quota} of each"
    if most < NEARLY * quota:
        return t.Finding(check=check, result="ok", detail=detail)
    advice = 'have it raised: Service Quotas, VPC, "Routes per route table"; or use driver vxlan, which needs no routes there'
    return t.Finding(check=check, result="warning", detail=detail, advice=advice)
