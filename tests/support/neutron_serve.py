"""Run by the Python of .venv-neutron (see neutron_server.py): DIRECTORY PORT HOST,HOST,…"""

import ctypes
import json
import os
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

CONFIG = """[DEFAULT]
auth_strategy = noauth
core_plugin = ml2
service_plugins = router
transport_url = fake://
api_paste_config = {paste}
state_path = {directory}
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
dhcp_agent_notification = false
[database]
connection = sqlite:///{directory}/neutron.db
[ml2]
type_drivers = local,flat,vlan,vxlan
tenant_network_types = vxlan
mechanism_drivers = openvswitch
extension_drivers = port_security
[ml2_type_vxlan]
vni_ranges = 1:1000
[oslo_concurrency]
lock_path = {directory}/lock
[oslo_policy]
policy_file = {directory}/policy.yaml
"""


def main(directory: Path, port: int, hosts: list[str]) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it does not outlive the tests
    fresh = not (directory / "neutron.db").exists()
    paste = Path(sys.prefix) / "etc" / "neutron" / "api-paste.ini"
    (directory / "neutron.conf").write_text(CONFIG.format(directory=directory, paste=paste))
    (directory / "policy.yaml").write_text("{}")
    os.environ["OS_NEUTRON_CONFIG_DIR"] = str(directory)
    os.environ["OS_NEUTRON_CONFIG_FILES"] = "neutron.conf"
    sys.argv = ["neutron-server"]
    if fresh:
        make_tables(directory, hosts)
    at_once()
    believing()
    from neutron.wsgi.api import application

    with make_server("127.0.0.1", port, application, handler_class=Handler) as server:
        server.serve_forever()


def make_tables(directory: Path, hosts: list[str]) -> None:
    import sqlalchemy
    from neutron.db.migration.models import head

    engine = sqlalchemy.create_engine(f"sqlite:///{directory}/neutron.db")
    tables = head.get_metadata()
    tables.create_all(engine)
    with engine.begin() as connection:
        for host in hosts:
            connection.execute(tables.tables["agents"].insert().values(**agent(host)))
    engine.dispose()


def agent(host: str) -> dict[str, object]:
    """An Open vSwitch agent that nobody has to hear from for ten years."""
    now = datetime.now()
    configurations = {
        "tunneling_ip": "192.0.2.1",
        "tunnel_types": ["vxlan"],
        "bridge_mappings": {},
        "datapath_type": "system",
        "ovs_hybrid_plug": host.startswith("hybrid"),
        "integration_bridge": "br-int",
    }
    return {
        "agent_type": "Open vSwitch agent",
        "binary": "neutron-openvswitch-agent",
        "topic": "N/A",
        "host": host,
        "admin_state_up": True,
        "created_at": now,
        "started_at": now,
        "heartbeat_timestamp": now + timedelta(days=3650),
        "configurations": json.dumps(configurations),
        "load": 0,
    }


def at_once() -> None:
    """The driver's own binding, with the status that an agent would report."""
    from neutron.plugins.ml2.drivers.openvswitch.mech_driver.mech_openvswitch import OpenvswitchMechanismDriver

    bind = OpenvswitchMechanismDriver.try_to_bind_segment_for_agent

    def binding(self, context, segment, agent):
        if agent["host"].startswith("slow"):
            return bind(self, context, segment, agent)
        took = context.set_binding

        def active(segment_id, vif_type, vif_details, status=None):
            took(segment_id, vif_type, vif_details, status="ACTIVE")

        context.set_binding = active
        try:
            return bind(self, context, segment, agent)
        finally:
            del context.set_binding

    OpenvswitchMechanismDriver.try_to_bind_segment_for_agent = binding


def believing() -> None:
    """Who names a project (X-Project-Id, X-Roles) is that and no administrator, as it would be with Keystone."""
    import webob.dec
    from neutron import auth
    from neutron_lib import context

    def caller(self, req):
        ctx = context.Context.from_environ(req.environ)
        if not ctx.project_id:
            ctx.project_id = "fake_project_id"
            ctx = ctx.elevated()
        req.environ["neutron.context"] = ctx
        return self.application

    auth.NoauthFakeProjectId.__call__ = webob.dec.wsgify(caller)


class Handler(WSGIRequestHandler):
    """One request at a time, a connection for each."""

    def log_message(self, format: str, *args: object) -> None: ...


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","))
