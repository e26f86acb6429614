"""Where things are on a host."""

from __future__ import annotations

from tools.reference.markdown import code, page, table
from weft.agent.config import DEFAULT_FILE, Config

_AGENT = Config()

FILES = (
    (str(DEFAULT_FILE), "[settings](settings.md)"),
    (_AGENT.state_dir, "what has to outlive a restart of the host; `state-dir`"),
    (f"{_AGENT.state_dir}/weft.db", "the embedded store, if `store` names no other"),
    (f"{_AGENT.state_dir}/cluster.json", "which cluster this host belongs to, and the newest change that it saw"),
    (f"{_AGENT.state_dir}/holdings", "what this host holds in the store: containers, subnets, addresses"),
    (f"{_AGENT.state_dir}/mesh", "of [a store without a server](../mesh.md): the members, and a voter's data"),
    (_AGENT.run_dir, "what ends with the host's uptime; `run-dir`"),
    (_AGENT.socket_path, "the [API](api/index.md)"),
    (f"{_AGENT.run_dir}/sysctl.json", "sysctls as they were before, to be put back"),
    ("/run/docker/plugins/weft.sock", "where Docker finds its [network driver](../engines/docker.md)"),
    ("/opt/cni/bin/weft-cni", "the [CNI plugin](../engines/cni.md), once `weft cni install` has put it there"),
    ("/etc/netns/NAME/resolv.conf", "names for `ip netns exec NAME`, with `weft attach --dns`"),
    ("/var/lib/weft-lab", "[labs](../lab.md)"),
)


def pages() -> dict[str, str]:
    return {"files.md": page("Files", table(("path", ""), [(code(path), said) for path, said in FILES]))}
