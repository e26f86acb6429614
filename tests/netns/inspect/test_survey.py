"""Namespaces that are held in whatever way, and links between them, as the kernel has them."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.inspected import held_by_process
from support.namespaces import Home, Namespace
from support.waiting import until
from weft.base.errors import NotFound
from weft.inspect import find, read
from weft.inspect.model import End
from weft.inspect.model import Namespace as Told
from weft.inspect.survey import Survey, survey


def inode(place: Namespace) -> int:
    return Path(place.path).stat().st_ino


def told(found: Survey, place: Namespace) -> Told:
    return found.namespaces[inode(place)]


def peers(found: Survey) -> dict[tuple[str, str], End | None]:
    return {(link.namespace, link.name): link.peer for link in found.links()}


@contextmanager
def mounted(place: Namespace, path: Path) -> Iterator[Path]:
    if not path.exists():
        path.touch()
    subprocess.run(["mount", "--bind", place.path, path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_the_other_end_is_followed_and_not_looked_for(netns: Home) -> None:
    """Three containers whose eth0 has the same ifindex; and in each of them, and here, a device with the ifindex that the
    other end has somewhere else."""
    web, db, decoy = netns.new(), netns.new(), netns.new()
    for number, place in enumerate((web, db), 50):
        netns.sh(f"ip link add host{number} index {number} type veth peer name eth0 index 7 netns {place.path}")
    decoy.sh("ip link add eth0 index 7 type bridge")
    decoy.sh("ip link add host50 index 50 type veth peer name host51 index 51")
    web.sh("ip link add other index 51 type bridge")
    found = survey()
    here = told(found, netns).name
    names = {place: told(found, place).name for place in (web, db, decoy)}
    found_peers = peers(found)
    for number, place in ((50, web), (51, db)):
        assert found_peers[here, f"host{number}"] == End(namespace=names[place], ifindex=7, name="eth0")
        assert found_peers[names[place], "eth0"] == End(namespace=here, ifindex=number, name=f"host{number}")
    assert found_peers[names[decoy], "host50"] == End(namespace=names[decoy], ifindex=51, name="host51")
    assert found_peers[names[decoy], "eth0"] is None
    mine = {inode(place) for place in (netns, web, db, decoy)}
    assert {key[0] for key in found.graph.named("7") if key[0] in mine} == mine - {inode(netns)}


def test_a_namespace_that_only_a_process_holds(netns: Home) -> None:
    place = netns.new()
    number = inode(place)
    with held_by_process(place) as pid:
        place.close()
        found = survey().namespaces[number]
    assert (found.name, found.pids, found.processes, found.command) == (f"pid-{pid}", (pid,), 1, "sleep")
    assert (found.links, found.paths, found.engine, found.this) == (1, (), "", False)
    assert found.cookie and found.inode == number


def test_a_namespace_that_only_a_bind_mount_holds(netns: Home, tmp_path: Path) -> None:
    place = netns.new()
    number = inode(place)
    with mounted(place, tmp_path / "kept here") as path:
        place.close()
        found = survey().namespaces[number]
    assert (found.name, found.paths, found.pids, found.links) == ("kept here", (str(path),), (), 1)
    assert number not in survey().namespaces


_NESTED = """
mount -t tmpfs none /run && mkdir /run/netns && ip netns add inner || exit
ip -n inner link add v type veth peer name w netns $$
stat -L -c %i /run/netns/inner
echo ready; exec sleep 100
"""


def test_a_namespace_that_is_named_in_another_mount_namespace(netns: Home) -> None:
    """As below a dockerd or in a container that makes some of its own: two by one name are told apart."""
    with ExitStack() as stack:
        numbers, pids = [], []
        for _ in range(2):
            command = ["unshare", "--net", "--mount", "sh", "-c", _NESTED]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout
            numbers.append(int(process.stdout.readline()))
            assert process.stdout.readline() == "ready\n"
            pids.append(process.pid)
        found = survey()
        for number, pid in zip(numbers, pids, strict=True):
            inner = found.namespaces[number]
            assert (inner.name, inner.engine) == (f"inner:{number}", "ip-netns")
            assert inner.paths == (f"/proc/{pid}/root/run/netns/inner",)
            assert peers(found)[inner.name, "v"] == End(namespace=f"pid-{pid}", ifindex=2, name="w")
        with pytest.raises(
            NotFound, match=r"inner is more than one network namespace: /proc/\d+/root/run/netns/inner; "
        ):
            found.key("inner")


def test_a_namespace_that_only_an_open_file_holds(netns: Home) -> None:
    place = netns.new()
    netns.sh(f"ip link add here type veth peer name there netns {place.path}")
    found = survey()
    here = told(found, netns).name
    held = told(found, place)
    assert held.name.startswith("held-by-") and held.cookie
    assert peers(found)[here, "here"] == End(namespace=held.name, ifindex=2, name="there")


def test_a_namespace_that_only_a_socket_holds(netns: Home) -> None:
    """Nothing opens it; what is in there is seen through the number of the namespace that a veth leads from."""
    place, other = netns.new(), netns.new()
    netns.sh(f"ip link add here type veth peer name there netns {place.path}")
    other.sh(f"ip link add also type veth peer name too netns {place.path}")
    with place.entered():
        kept = socket.socket()
    place.close()
    with kept:
        found = survey()
    here = told(found, netns).name
    name = next(n.name for key, n in found.namespaces.items() if key < 0 and n.name.endswith(f"-of-{here}"))
    seen = next(n for n in found.namespaces.values() if n.name == name)
    assert (seen.inode, seen.cookie, seen.links) == (None, None, 3)
    assert "number" in seen.unseen
    joined = peers(found)
    assert joined[here, "here"] == End(namespace=name, ifindex=2, name="there")
    assert joined[name, "there"] == End(namespace=here, ifindex=2, name="here")
    assert joined[told(found, other).name, "also"] == End(namespace=name, ifindex=3, name="too")
    assert found.graph.names[found.key(name)] == name


def test_a_namespace_that_ends_meanwhile_is_left_out(netns: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    place = netns.new()
    number, real = inode(place), find.find

    def before_it_ends() -> find.Found:
        with held_by_process(place):
            place.close()
            found = real()
        until(lambda: not Path(found.places[number].ways_in()[0]).exists(), 10, "the process is gone")
        return found

    monkeypatch.setattr(find, "find", before_it_ends)
    found = survey()
    assert number not in found.namespaces and inode(netns) in found.namespaces


def test_another_namespace_under_the_same_path_is_not_taken_for_it(netns: Home, tmp_path: Path) -> None:
    first, second = netns.new(), netns.new()
    with mounted(first, tmp_path / "c"):
        place = find.Place(inode(first), mounts=[str(tmp_path / "c")], name="c")
        assert isinstance(read.inside([place])[place.inode], read.Inside)
        with mounted(second, tmp_path / "c"):
            assert isinstance(read.inside([place])[place.inode], NotFound)
            with pytest.raises(NotFound):
                read.open_place(place)


def test_a_way_by_routes(netns: Home) -> None:
    """A container, the bridge here, and the device of the default route; then nothing that leads on."""
    web, outside = netns.new(), netns.new()
    for line in (
        "ip link add br0 type bridge",
        f"ip link add v master br0 type veth peer name eth0 netns {web.path}",
        f"ip link add up0 type veth peer name far netns {outside.path}",
        "ip address add 198.51.100.1/24 dev up0",
        "ip link set br0 up",
        "ip link set up0 up",
        "ip route add default via 198.51.100.2",
    ):
        netns.sh(line)
    found = survey()
    here = told(found, netns).name
    (only,) = found.find("eth0", inode(web))
    hops, hop = [], only.way
    while hop:
        hops.append((hop.how, hop.name, hop.namespace))
        hop = hop.next[0] if hop.next else None
    names = [told(found, place).name for place in (web, outside)]
    assert hops == [
        ("start", "eth0", names[0]),
        ("peer", "v", here),
        ("master", "br0", here),
        ("route", "up0", here),
        ("peer", "far", names[1]),
    ]


def test_a_vxlan_that_was_made_elsewhere_tells_where_it_sends(netns: Home) -> None:
    place = netns.new()
    netns.sh("ip link add vxlan0 type vxlan id 300 dstport 4789 local 192.0.2.9")
    netns.sh(f"ip link set vxlan0 netns {place.path}")
    netns.sh(f"ip link add v type veth peer name w netns {place.path}")
    found = survey()
    here = told(found, netns).name
    link = next(link for link in found.links(inode(place)) if link.name == "vxlan0")
    assert (link.kind, link.outside, link.lower) == ("vxlan", here, None)
    assert link.details == {"vni": 300, "port": 4789, "local": "192.0.2.9"}


def test_a_thousand_namespaces_in_pairs_are_no_thousand_times_a_thousand_questions(
    netns: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All have the same ifindexes, so what tells them apart is asked; the questions about each are few."""
    asked = []
    real: Callable[..., int | None] = read.number
    monkeypatch.setattr(read, "number", lambda *of: asked.append(of) or real(*of))
    pairs = [(netns.new(), netns.new()) for _ in range(20)]
    for one, other in pairs:
        one.sh(f"ip link add eth0 index 9 type veth peer name eth0 index 9 netns {other.path}")
    with ExitStack() as stack:
        for place in (place for pair in pairs for place in pair):
            stack.enter_context(held_by_process(place))
        found = survey()
        joined = peers(found)
        for one, other in pairs:
            assert joined[told(found, one).name, "eth0"] == End(
                namespace=told(found, other).name, ifindex=9, name="eth0"
            )
    ours = {inode(place) for pair in pairs for place in pair}
    assert len([1 for _, place in asked if place.inode in ours]) < 40 * 12


def test_it_is_read_from_any_thread(netns: Home) -> None:
    found: list[Survey] = []
    thread = threading.Thread(target=lambda: found.append(survey()))
    thread.start()
    thread.join()
    assert found[0].namespaces[inode(netns)].this
