"""Environment variables that Weft reads."""

from __future__ import annotations

from tools.reference.markdown import code, page, table

VARIABLES = {
    "WEFT_SOCKET": "the agent's socket, instead of `--socket`",
    "WEFT_DEBUG": "anything: a defect of `weft` itself is shown with its traceback instead of one line",
    "WEFT_LAB_NAME": "which [lab](../lab.md) the commands of `weft lab` mean, instead of `--name`",
    "WEFT_LAB_BASE": "where labs are kept, instead of `/var/lib/weft-lab`",
    "NO_COLOR": "anything: no colours ([no-color.org](https://no-color.org))",
    "TERM": "`dumb`: no colours",
    "SHELL": "what `weft netns NAME` starts when no command is given",
    "XDG_STATE_HOME": "where labs of ordinary users are kept",
    "NOTIFY_SOCKET": "set by systemd; the agent says there that it is ready",
    "OVS_RUNDIR": "where Open vSwitch's socket is, instead of `/var/run/openvswitch`",
    "OS_CLOUD, OS_AUTH_URL, …": "OpenStack's, for drivers `neutron` and `neutron-routes`; `openstack-cloud` goes before",
    "AWS_…": "of Amazon's SDK, for driver `aws-vpc`",
}


def pages() -> dict[str, str]:
    rows = [(", ".join(map(code, name.split(", "))), said) for name, said in VARIABLES.items()]
    return {"variables.md": page("Environment variables", table(("variable", ""), rows))}
