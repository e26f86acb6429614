"""The table of all kinds of record that the agent keeps. A feature names its own here."""

from __future__ import annotations

from typing import Any

from weft.model import records
from weft.model.record import Record
from weft.policy import record as policy
from weft.services import record as services

KINDS: tuple[Record[Any, Any], ...] = (
    records.NODES,
    records.PRESENCE,
    records.NETWORKS,
    records.LEASES,
    records.BGP_SETTINGS,
    records.BGP_SECRET,
    records.BGP_PEERS,
    records.FLOATING,
    records.ENDPOINTS,
    records.CURSORS,
    records.LOCATIONS,
    policy.POLICIES,
    policy.TIERS,
    policy.NAMESPACES,
    policy.NETWORK_SETS,
    services.SERVICES,
    services.CONDITIONS,
)
