"""`weft-cni`, the CNI plugin (CNI specification 1.1.0): a thin client of this node's agent.

One file that needs no other: `python3 -S -I plugin.py` runs it, `weft cni install` puts it where engines look. An engine
starts it for every container, several times, so what it imports is most of what it costs: `json`, `socket` and `os` take 7,
7 and 1 ms, their built-in halves `_json`, `_socket` and `posix`, which are all that is used here, next to nothing. For the
same reason no `__future__`, no `typing`, no `re`.

The agent does the work and knows an attachment by its owner, "cni/NAME/CONTAINERID/IFNAME", the key that the specification
gives it. So DEL and GC need neither the namespace nor a previous result, and nothing is kept here.
"""

import _json
import _socket
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Object = dict[str, Any]

LATEST = "1.1.0"
VERSIONS = {"0.3.0": (0, 3, 0), "0.3.1": (0, 3, 1), "0.4.0": (0, 4, 0), "1.0.0": (1, 0, 0), "1.1.0": (1, 1, 0)}
SOCKET = "/run/weft/weft.sock"
PATIENCE = 60.0
"""Seconds for one answer of the agent."""
MOST = 1 << 24
"""Octets of a configuration."""

# Section 5, "Error". From 100 on they are our own.
VERSION, FIELD, CONTAINER, ENVIRONMENT, IO, DECODE, CONFIG, LATER = 1, 2, 3, 4, 5, 6, 7, 11
UNAVAILABLE, LIMITED = 50, 51
EXISTS, EXHAUSTED, REFUSED, AMISS, UNEXPECTED = 100, 101, 102, 103, 199
OF_AGENT = {
    "invalid": CONFIG,
    "not-found": CONFIG,
    "conflict": EXISTS,
    "exhausted": EXHAUSTED,
    "unsupported": REFUSED,
    "denied": REFUSED,
    "unavailable": LATER,
    "failed": REFUSED,
}
"""What the agent's errors (weft.base.errors) are in CNI's terms."""


class Failure(Exception):
    """`code`: CNI's; `msg`: what is wrong, in short; `details`: why, and the way out."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        self.code, self.msg, self.details = code, msg, details


# ---------------------------------------------------------------------------------------------------------------- JSON


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


def _constant(text: str) -> "Any":
    raise ValueError(text)  # NaN and Infinity are not JSON


class _Scanning:
    """What the scanner asks of a json.decoder.JSONDecoder."""

    strict, object_hook, object_pairs_hook = True, None, None
    parse_float, parse_int, parse_constant = _number, int, _constant


_scanning: "Any" = _Scanning
_scan = _json.make_scanner(_scanning)


def _complaint(parse: "Callable[[str], Any]", text: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return "it cannot be read"


def loads(data: bytes) -> "Any":
    """Raises ValueError, RecursionError."""
    text = data.decode().strip(" \t\r\n")
    try:
        value, end = _scan(text, 0)
    except (StopIteration, SystemError):  # the scanner alone finds errors, but not the words for them
        import json

        raise ValueError(_complaint(json.loads, text)) from None
    if end != len(text):
        raise ValueError(f"more than one value, from character {end} on")
    return value


def dumps(value: "Any") -> str:
    if isinstance(value, str):
        return _json.encode_basestring_ascii(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json.encode_basestring_ascii(k)}:{dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(dumps, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def matched(names: "Iterable[str]", found: "Object") -> "Object":
    """As `weft.base.golang.matched`, which tells why: container engines are written in Go."""
    exact = {*names}
    spelt = {name.casefold(): name for name in exact}
    kept: Object = {}
    for key, value in found.items():
        name = key if key in exact else spelt.get(key.casefold(), key)
        if value is not None or name not in kept:
            kept[name] = value
    return kept


# ----------------------------------------------------------------------------------------------------------- the agent


class Agent:
    """At a unix socket: HTTP, one request for each connection."""

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        self.path, self.patience = path, patience

    def ask(self, method: str, target: str, body: "Any" = None) -> "Any":
        """The reply's value. Raises Failure."""
        content = b"" if body is None else dumps(body).encode()
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        try:
            status, answer = self._exchange(head.encode() + content)
        except TimeoutError:
            raise Failure(LATER, f"the agent at {self.path} has not answered for {self.patience:g} s") from None
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise Failure(LATER, f"no agent answers at {self.path}", "start it: systemctl start weft-agent") from None
        except PermissionError:
            raise Failure(IO, f"no access to the agent's socket {self.path}", "run the plugin as root") from None
        except OSError as error:
            raise Failure(LATER, f"the agent at {self.path} broke off: {error.strerror or error}") from None
        try:
            value = loads(answer)
        except (ValueError, RecursionError):
            raise Failure(IO, f"what answers at {self.path} is no Weft agent") from None
        if 200 <= status < 300:
            return value
        raise _refusal(value)

    def _exchange(self, request: bytes) -> "tuple[int, bytes]":
        """Status and body."""
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.settimeout(self.patience)
            connection.connect(self.path)
            connection.sendall(request)
            received, missing = b"", 1
            while missing:
                some = connection.recv(65536)
                if not some:
                    raise OSError("its answer is not complete")
                received += some
                missing = _missing(received)
        finally:
            connection.close()
        head, _, answer = received.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        return (int(status) if status.isdigit() else 0), answer


def _missing(received: bytes) -> int:
    """Octets until the answer is complete; as long as that is not known, 1."""
    head, end, answer = received.partition(b"\r\n\r\n")
    if not end:
        return 1
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value) - len(answer)
    raise OSError("its answer has no length")


def _refusal(value: "Any") -> Failure:
    error = value if isinstance(value, dict) else {}
    return Failure(OF_AGENT.get(str(error.get("error")), REFUSED), str(error.get("message") or "the agent refuses"))


def quoted(text: str) -> str:
    """For a URL's query (RFC 3986 §2.1)."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/"
    return "".join(chr(octet) if octet in plain else f"%{octet:02X}" for octet in text.encode())


# --------------------------------------------------------------------------------------------- environment and stdin

REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}
"""Section 2. CNI_PATH, which GC requires, is for plugins that delegate to others."""


def is_name(text: str) -> bool:
    """As container ids and networks' names are to be (sections 1 and 2)."""
    return text.isascii() and text[:1].isalnum() and all(c.isalnum() or c in "._-" for c in text)


def is_ifname(text: str) -> bool:
    """dev_valid_name in net/core/dev.c. Of a name with % the kernel makes another one."""
    fits = text not in ("", ".", "..", "all", "default") and len(text.encode()) < 16
    return fits and text.isascii() and text.isprintable() and not any(c in "/:% " for c in text)


def is_path(text: str) -> bool:
    return text.startswith("/")


VALID: "dict[str, Callable[[str], bool]]" = {"CNI_CONTAINERID": is_name, "CNI_IFNAME": is_ifname, "CNI_NETNS": is_path}


class Call:
    """What the engine passes in the environment. Raises Failure."""

    def __init__(self, environment: "Mapping[bytes, bytes]") -> None:
        values = {}
        for name in ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"):
            try:
                values[name] = environment.get(name.encode(), b"").decode()
            except UnicodeDecodeError:
                raise Failure(ENVIRONMENT, f"{name} is not UTF-8") from None
        self.command, self.container = values["CNI_COMMAND"], values["CNI_CONTAINERID"]
        self.netns, self.ifname, self.args = values["CNI_NETNS"], values["CNI_IFNAME"], values["CNI_ARGS"]
        if self.command not in REQUIRED:
            raise Failure(
                ENVIRONMENT,
                f"CNI_COMMAND is '{self.command}'",
                f"a container engine runs this program with one of {', '.join(REQUIRED)}",
            )
        required = REQUIRED[self.command]
        if missing := [name for name in required if not values[name]]:
            raise Failure(ENVIRONMENT, f"{', '.join(missing)} missing in the environment")
        for name in required:
            if not VALID[name](values[name]):
                raise Failure(ENVIRONMENT, f"{name} is not valid: {values[name]}")


def arguments(text: str) -> "dict[str, str]":
    """CNI_ARGS. Raises Failure: keys that nobody knows are an error, unless IgnoreUnknown is set."""
    found: dict[str, str] = {}
    for pair in text.split(";"):
        if not pair:
            continue
        key, equals, value = pair.partition("=")
        if not equals:
            raise Failure(ENVIRONMENT, f"CNI_ARGS: '{pair}' is not KEY=VALUE")
        found[key] = value
    lenient = found.pop("IgnoreUnknown", "").lower() in ("1", "true")
    unknown = [key for key in found if key not in ("IP", "MAC") and not key.startswith("K8S_")]
    if unknown and not lenient:
        raise Failure(
            ENVIRONMENT, f"CNI_ARGS: unknown key {unknown[0]}", "known are IP, MAC, K8S_…; or set IgnoreUnknown=1"
        )
    return found


# ------------------------------------------------------------------------------------------------------- configuration

FIELDS: "dict[str, type]" = {
    "cniVersion": str,
    "cniVersions": list,
    "name": str,
    "type": str,
    "disableCheck": bool,
    "disableGC": bool,
    "capabilities": dict,
    "runtimeConfig": dict,
    "args": dict,
    "prevResult": dict,
    "dns": dict,
    "ipam": dict,
    "network": str,
    "driver": str,
    "subnet": str,
    "subnets": list,
    "options": dict,
    "internal": bool,
    "mtu": int,
    "labels": dict,
    "namespace": str,
    "socket": str,
}
OF_DEFINITION = ("driver", "subnet", "subnets", "options", "internal", "mtu")
"""Those that say what a network is; with them it is made where it is missing."""
ATTACHMENTS = "cni.dev/valid-attachments"
CAPABILITIES: "dict[str, tuple[type, ...]]" = {
    "ips": (list,),
    "mac": (str,),
    "dns": (dict,),
    "aliases": (list, dict),
    "labels": (dict,),
    "portMappings": (list,),
    "ipRanges": (list,),
    "bandwidth": (dict,),
}
"""The types that each may have; `attachment` makes use of them."""
DNS = ("nameservers", "domain", "search", "options")
PARTS: "dict[str, Iterable[str]]" = {"runtimeConfig": CAPABILITIES, "args": ("cni",), "dns": DNS}
"""The keys of what is an object itself, for `matched`."""


class Config:
    """`whole`: what the engine passed on stdin. Raises Failure. DEL and GC look at no more than they need: an attachment
    must come off under whatever configuration."""

    def __init__(self, whole: "Any") -> None:
        if not isinstance(whole, dict):
            raise Failure(DECODE, "the network configuration is not a JSON object")
        self.raw: Object = matched((*FIELDS, ATTACHMENTS), whole)
        self.whole: Object = {key: value for key, value in self.raw.items() if value is not None}
        for key, names in PARTS.items():
            if isinstance(self.whole.get(key), dict):
                self.whole[key] = matched(names, self.whole[key])
        self.version = self.text("cniVersion", "0.1.0")
        if self.version not in VERSIONS:
            raise Failure(
                VERSION, f"CNI version '{self.version}' is not supported", f"supported are {', '.join(VERSIONS)}"
            )
        self.name = self.text("name")
        if not is_name(self.name):
            raise Failure(CONFIG, f"the network configuration's name is '{self.name}'", "use letters, digits and ._-")
        self.agent = Agent(self.text("socket", SOCKET))

    def text(self, key: str, default: str = "") -> str:
        value = self.whole.get(key, default)
        if not isinstance(value, str):
            raise Failure(CONFIG, f"{key} is not text: {dumps(value)}")
        return value

    def part(self, key: str) -> "Object":
        return self.whole.get(key) or {}

    def at_least(self, version: str, command: str) -> None:
        if VERSIONS[self.version] < VERSIONS[version]:
            raise Failure(VERSION, f"CNI version {self.version} has no {command}", f"it came with {version}")

    def check(self) -> None:
        """All that ADD depends on. Raises Failure."""
        for key, value in self.whole.items():
            if key not in FIELDS and not key.startswith("cni.dev/"):
                raise Failure(FIELD, f"unsupported field {key}: {dumps(value)}", f"supported are {', '.join(FIELDS)}")
            if key in FIELDS and type(value) is not FIELDS[key]:
                raise Failure(CONFIG, f"{key} is of the wrong type: {dumps(value)}")
        if self.part("ipam"):
            raise Failure(FIELD, f"unsupported field ipam: {dumps(self.part('ipam'))}", "Weft gives addresses itself")
        for key, value in self.part("runtimeConfig").items():
            if key not in CAPABILITIES and value:
                raise Failure(FIELD, f"unsupported field runtimeConfig.{key}: {dumps(value)}")
            if value is not None and key in CAPABILITIES and type(value) not in CAPABILITIES[key]:
                raise Failure(CONFIG, f"runtimeConfig.{key} is of the wrong type: {dumps(value)}")
        self.network, self.definition = self._network()
        self.previous = self.whole.get("prevResult")
        self.dns = self._dns()

    def _network(self) -> "tuple[str, Object | None]":
        """Its name; and what it is, where that is said."""
        name, given = self.text("network"), [key for key in OF_DEFINITION if key in self.whole]
        if not given:
            if not name:
                raise Failure(
                    CONFIG, "no network is named", 'add "network": NAME, or "driver" and "subnet" of a new one'
                )
            return name, None
        subnets = [self.whole["subnet"]] if "subnet" in self.whole else self.whole.get("subnets", [])
        if "driver" not in self.whole or not subnets:
            raise Failure(CONFIG, f'{given[0]} is given, but not "driver" and "subnet"', "a new network needs both")
        name = name or self.name
        found: Object = {key: self.whole[key] for key in ("driver", "options", "internal", "mtu") if key in self.whole}
        return name, {"name": name, "subnets": subnets, **found}

    def _dns(self) -> "Object":
        """For the result; what the engine says comes before the file."""
        wishes = matched(("servers", "searches", "options"), self.part("runtimeConfig").get("dns") or {})
        found: Object = dict(self.part("dns"))
        for key, wish in (("nameservers", "servers"), ("search", "searches"), ("options", "options")):
            if wishes.get(wish):
                found[key] = _texts(wish, wishes[wish])
        return found


# --------------------------------------------------------------------------------------------------------- attachments


def owner(config: Config, container: str = "", ifname: str = "") -> str:
    """Without a container: how all of the network's begin."""
    return f"cni/{config.name}/{container}/{ifname}" if container else f"cni/{config.name}/"


def attachment(call: Call, config: Config) -> "Object":
    """The request for one (weft.api.types.Attach)."""
    wishes: Object = config.part("runtimeConfig")
    said = config.part("args").get("cni", {})
    if not isinstance(said, dict):
        raise Failure(CONFIG, f"args.cni is of the wrong type: {dumps(said)}")
    said = matched(("ips", "labels"), said)
    extra = arguments(call.args)
    addresses = wishes.get("ips") or said.get("ips") or [a for a in extra.get("IP", "").split(",") if a]
    mappings = ports(wishes.get("portMappings") or [])
    return {
        **identity(config, extra, mappings),
        "target": call.netns,
        "network": config.network,
        "name": fit(extra.get("K8S_POD_NAME", "")) or fit(call.container[:12]),
        "interface": call.ifname,
        "addresses": [text.partition("/")[0] for text in _texts("ips", addresses)],
        "ranges": ranges(wishes.get("ipRanges") or []),
        "ports": [{key: value for key, value in port.items() if key != "name"} for port in mappings],
        "mac": wishes.get("mac") or extra.get("MAC", ""),
        "labels": labels(config, said, extra),
        "aliases": list(dict.fromkeys(name for alias in aliases(config) if (name := fit(alias)))),
        "bandwidth": bandwidth(wishes.get("bandwidth") or {}),
        "owner": owner(config, call.container, call.ifname),
        "exclusive": True,
        "definition": config.definition,
    }


def identity(config: Config, extra: "Mapping[str, str]", mappings: "list[Object]") -> "Object":
    """Namespace and names of ports, where something is said of them."""
    found: Object = {"policy_namespace": extra.get("K8S_POD_NAMESPACE") or config.text("namespace")}
    named = [
        {"name": port["name"], "protocol": port["protocol"], "port": port["container_port"]}
        for port in mappings
        if "name" in port
    ]
    found["named_ports"] = [port for n, port in enumerate(named) if port not in named[:n]]
    return {key: value for key, value in found.items() if value}


def labels(config: Config, said: "Object", extra: "Mapping[str, str]") -> "dict[str, str]":
    """From the file, then what the engine says of this container."""
    found: dict[str, str] = {}
    listed = said.get("labels") or []
    pairs = listed if isinstance(listed, list) else [listed]
    pairs = [matched(("key", "value"), pair) if isinstance(pair, dict) else pair for pair in pairs]
    files = [*config.part("labels").items(), *(config.part("runtimeConfig").get("labels") or {}).items()]
    for pair in [*({"key": k, "value": v} for k, v in files), *pairs]:
        if not isinstance(pair, dict) or not isinstance(pair.get("key"), str) or not isinstance(pair.get("value"), str):
            raise Failure(CONFIG, f"a label is not text: {dumps(pair)}")
        found[pair["key"]] = pair["value"]
    for key, value in extra.items():
        if key.startswith("K8S_") and value:
            found["io.kubernetes." + key[4:].lower().replace("_", ".")] = value
    if told := aliases(config):
        found["aliases"] = ",".join(told)
    return found


RANGE = {"subnet": "subnet", "rangeStart": "first", "rangeEnd": "last", "gateway": "gateway"}
"""From the conventions' keys to those of weft.model.AddressRange."""
PORT = {
    "hostPort": "host_port",
    "containerPort": "container_port",
    "protocol": "protocol",
    "hostIP": "host_ip",
    "name": "name",
}
"""… to those of weft.model.PublishedPort, and of NamedPort."""


def aliases(config: Config) -> "list[str]":
    """By which its network's other containers know it, besides its name."""
    found = config.part("runtimeConfig").get("aliases") or []
    if isinstance(found, dict):  # Podman's way: those of each network, by its name
        found = found.get(config.name) or []
    return _texts("aliases", found)


def ranges(sets: "list[Any]") -> "list[Object]":
    """Capability `ipRanges`: a list of sets of ranges, of each of which one address is to come."""
    found: list[Object] = []
    families: set[bool] = set()
    for each in sets:
        listed = _renamed("ipRanges", each, RANGE, ("subnet",))
        here = {":" in str(entry["subnet"]) for entry in listed}
        if len(here) > 1 or here & families:
            told = "one address of each family is given, so one set of each, and not mixed"
            raise Failure(CONFIG, f"ipRanges: there is no address for {dumps(each)}", told)
        families |= here
        found += listed
    return found


def ports(listed: "list[Any]") -> "list[Object]":
    """Capability `portMappings`."""
    found = _renamed("portMappings", listed, PORT, ("hostPort", "containerPort"))
    for port in found:
        if not port["host_port"]:  # the agent would choose one, and the result has no place to tell which
            raise Failure(CONFIG, f"runtimeConfig.portMappings: hostPort is 0 in {dumps(port)}")
    return [{**port, "protocol": str(port.get("protocol", "tcp")).lower()} for port in found]


def _renamed(what: str, listed: "Any", keys: "Mapping[str, str]", required: "Iterable[str]") -> "list[Object]":
    """Without what is empty. Raises Failure."""
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise Failure(CONFIG, f"runtimeConfig.{what} is of the wrong type: {dumps(listed)}")
    found = [{k: v for k, v in matched(keys, entry).items() if v not in (None, "")} for entry in listed]
    for entry in found:
        if unknown := [key for key in entry if key not in keys]:
            raise Failure(FIELD, f"unsupported field runtimeConfig.{what}.{unknown[0]}: {dumps(entry[unknown[0]])}")
        if missing := [key for key in required if key not in entry]:
            raise Failure(CONFIG, f"runtimeConfig.{what}: {missing[0]} is missing in {dumps(entry)}")
    return [{keys[key]: value for key, value in entry.items()} for entry in found]


BITS = {
    "ingressRate": ("ingress", 1),
    "ingressBurst": ("ingress_burst", 8),
    "egressRate": ("egress", 1),
    "egressBurst": ("egress_burst", 8),
}
"""From the conventions' keys (rates in bit/s, bursts in bits, 0 for none) to those of weft.model.Bandwidth, in octets where
these are so many bits."""


def bandwidth(wish: "Object") -> "dict[str, int] | None":
    """Capability `bandwidth`."""
    found = {}
    for key, value in matched(BITS, wish).items():
        if key not in BITS and value:
            raise Failure(FIELD, f"unsupported field runtimeConfig.bandwidth.{key}: {dumps(value)}")
        if value is not None and (type(value) is not int or value < 0):
            raise Failure(CONFIG, f"runtimeConfig.bandwidth.{key} is not a number of bits: {dumps(value)}")
        if value:
            name, unit = BITS[key]
            found[name] = (value + unit - 1) // unit
    return found or None


def _texts(what: str, values: "Any") -> "list[str]":
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Failure(CONFIG, f"{what} is not a list of text: {dumps(values)}")
    return values


def fit(name: str) -> str:
    """An endpoint's name (weft.base.names) as near to `name` as can be; "" where nothing is left."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name.lower())
    return kept.strip("._-")[:63].rstrip("._-")


def enter_check(netns: str) -> None:
    """Whether this is another network namespace than ours. Raises Failure."""
    try:
        there, here = posix.stat(netns), posix.stat("/proc/self/ns/net")
    except OSError as error:
        raise Failure(CONTAINER, f"CNI_NETNS: no network namespace {netns}: {error.strerror}") from None
    if there.st_dev != here.st_dev:
        raise Failure(ENVIRONMENT, f"CNI_NETNS: {netns} is not a namespace")
    if there.st_ino == here.st_ino:
        raise Failure(ENVIRONMENT, f"CNI_NETNS: {netns} is the host's own namespace")


# ------------------------------------------------------------------------------------------------------------- results

ON_LINK = 253
"""RT_SCOPE_LINK of linux/rtnetlink.h."""
RESULT: "dict[str, Iterable[str]]" = {
    "interfaces": ("name", "mac", "sandbox", "mtu", "socketPath", "pciID"),
    "routes": ("dst", "gw", "mtu", "advmss", "priority", "table", "scope"),
    "ips": ("address", "gateway", "interface", "version"),
}
"""The lists of a result, and the keys of what is in them (section 5)."""
SINCE_1_1 = {
    "interfaces": ("mtu", "socketPath", "pciID"),
    "routes": ("mtu", "advmss", "priority", "table", "scope"),
    "ips": (),
}
"""Section 5: keys that earlier versions do not know."""


def previous(config: Config) -> "Object":
    """The result of the plugins before us, in the version asked for. Raises Failure."""
    found = matched((*RESULT, "dns"), config.previous or {})
    for key, late in SINCE_1_1.items():
        items = [] if found.get(key) is None else found[key]
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise Failure(CONFIG, f"prevResult.{key} is not a list of objects: {dumps(items)}")
        found[key] = [_of_version(config.version, key, late, matched(RESULT[key], item)) for item in items]
    if not isinstance(found.get("dns"), (dict, type(None))):
        raise Failure(CONFIG, f"prevResult.dns is not an object: {dumps(found['dns'])}")
    if found.get("dns"):
        found["dns"] = matched(DNS, found["dns"])
    dumps(found)  # what cannot be said again is found before anything is made
    return found


def _of_version(version: str, kind: str, late: "Iterable[str]", item: "Object") -> "Object":
    number = VERSIONS[version]
    kept = {key: value for key, value in item.items() if number >= (1, 1, 0) or key not in late}
    if kind == "ips":
        kept.pop("version", None)
        if number < (1, 0, 0):
            kept["version"] = "6" if ":" in str(item.get("address")) else "4"
    return kept


def result(config: Config, netns: str, before: "Object", endpoint: "Object") -> "Object":
    """Section 5, "ADD Success": what was there before, and then ours."""
    mtu, hops = endpoint["mtu"], [route["gateway"] for route in endpoint["routes"] if route["gateway"]]
    second = endpoint.get("second")
    outer = [{"name": endpoint["host_interface"], "mtu": mtu}] if endpoint["host_interface"] else []
    number = len(before["interfaces"]) + len(outer)
    own = {"mac": endpoint["mac"]} if endpoint["mac"] else {}
    ours: Object = {
        "interfaces": [
            *outer,
            {"name": endpoint["interface"], **own, "mtu": mtu, "sandbox": netns},
            *([{"name": second["interface"], "mac": second["mac"], "sandbox": netns}] if second else []),
        ],
        "ips": [],
        "routes": [
            {"dst": route["destination"], **({"gw": route["gateway"]} if route["gateway"] else {"scope": ON_LINK})}
            for route in endpoint["routes"]
        ],
    }
    for address in endpoint["addresses"]:
        alike = [hop for hop in endpoint["gateways"] if hop in hops and (":" in hop) == (":" in address)]
        used = {"gateway": alike[0]} if alike and not second else {}
        ours["ips"].append({"address": address, **used, "interface": number})
    merged = {"cniVersion": config.version, **{k: v for k, v in before.items() if k != "cniVersion"}}
    for key, late in SINCE_1_1.items():
        merged[key] = before[key] + [_of_version(config.version, key, late, item) for item in ours[key]]
    merged["dns"] = {**(before.get("dns") or {}), **config.dns}
    if endpoint.get("resolver") and not merged["dns"].get("nameservers"):
        # A name without a dot is asked for as it is first, and only then with the domains of `search`.
        merged["dns"] = {"options": ["ndots:0"], **merged["dns"], "nameservers": [endpoint["resolver"]]}
    if not merged["dns"]:
        del merged["dns"]
    return merged


# ---------------------------------------------------------------------------------------------------------- operations


def add(call: Call, config: Config) -> "Object":
    config.check()
    before, request = previous(config), attachment(call, config)
    enter_check(call.netns)
    return result(config, call.netns, before, config.agent.ask("POST", "/v1/endpoints", request))


def delete(call: Call, config: Config) -> None:
    """What is not there needs no removal: the agent says so with success."""
    _detach(config, owner(config, call.container, call.ifname))


def _detach(config: Config, whose: str) -> None:
    config.agent.ask("DELETE", f"/v1/endpoints?owner={quoted(whose)}")


def check(call: Call, config: Config) -> None:
    """The agent compares the kernel with what it should be; the previous result tells what the engine believes."""
    config.at_least("0.4.0", "CHECK")
    config.check()
    if config.previous is None:
        raise Failure(CONFIG, "prevResult is missing: CHECK compares with it")
    believed = previous(config)
    enter_check(call.netns)
    whose = owner(config, call.container, call.ifname)
    try:
        found = config.agent.ask("GET", f"/v1/check?owner={quoted(whose)}")
    except Failure as failure:
        if failure.code == CONFIG:
            raise Failure(CONTAINER, f"{call.container} has no attachment {call.ifname} in {config.name}") from None
        raise
    _compare(call, believed, found["endpoint"])
    if found["faults"]:
        raise Failure(AMISS, f"{call.ifname} is not as it should be: {found['faults'][0]}", "; ".join(found["faults"]))


def _compare(call: Call, believed: "Object", endpoint: "Object") -> None:
    """Others in the chain may have added interfaces and addresses, and changed the MAC address."""
    inside = [n for n, i in enumerate(believed["interfaces"]) if i.get("name") == call.ifname and i.get("sandbox")]
    if not inside:
        raise Failure(AMISS, f"prevResult has no interface {call.ifname} in a sandbox, the agent has")
    addresses = [ip.get("address") for ip in believed["ips"] if ip.get("interface", inside[0]) in inside]
    for address in endpoint["addresses"]:
        if address not in addresses:
            raise Failure(AMISS, f"{call.ifname} has address {address}, prevResult has {dumps(addresses)}")


def status(_: Call, config: Config) -> None:
    """Whether an ADD would do well now. Raises Failure with code 50 or 51."""
    config.at_least("1.1.0", "STATUS")
    config.check()
    try:
        now = config.agent.ask("GET", "/v1/status")
    except Failure as failure:
        raise Failure(UNAVAILABLE, failure.msg, failure.details) from None
    if now["state"] == "starting":
        raise Failure(UNAVAILABLE, f"{now['node']}'s agent is still starting")
    if now["store"]["state"] != "connected":
        raise Failure(LIMITED, f"{now['node']}'s agent has lost its store", now["store"]["reason"])
    network = {n["name"]: n for n in now["networks"]}.get(config.network)
    if network is None:
        if config.definition is None:
            raise Failure(UNAVAILABLE, f"there is no network {config.network}", "`weft network create` makes it")
        return
    if not network["subnets"]:
        reasons = [p["text"] for p in now["problems"] if p["network"] == config.network and not p["peer"]]
        raise Failure(UNAVAILABLE, f"{now['node']} has no subnet in {config.network}", "; ".join(reasons))
    for subnet in network["subnets"]:
        length = int(subnet.rpartition("/")[2])
        room = 2 ** (32 - length) - 3 if ":" not in subnet else 2 ** (128 - length) - 2
        if network["endpoints"] >= room:
            raise Failure(UNAVAILABLE, f"{config.network}: {now['node']}'s subnet {subnet} has no address left")


def collect(_: Call, config: Config) -> None:
    """GC: what the engine does not name goes; past errors, all of which are told."""
    config.at_least("1.1.0", "GC")
    valid = _valid(config)
    failures = []
    for endpoint in config.agent.ask("GET", f"/v1/endpoints?owner={quoted(owner(config))}"):
        if endpoint["owner"] not in valid:
            try:
                _detach(config, endpoint["owner"])
            except Failure as failure:
                failures.append(failure)
    if failures:
        raise Failure(failures[0].code, failures[0].msg, "; ".join(f.msg for f in failures))


def _valid(config: Config) -> "set[str]":
    """Owners. A list that is missing is not an empty one: everything would go."""
    if ATTACHMENTS not in config.raw:
        raise Failure(CONFIG, f"{ATTACHMENTS} is missing: without it everything would be removed")
    listed: Any = config.raw[ATTACHMENTS]
    found = set()
    for item in [] if listed is None else listed if isinstance(listed, list) else [listed]:
        item = matched(("containerID", "ifname"), item) if isinstance(item, dict) else item
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("containerID", "ifname")):
            raise Failure(CONFIG, f"{ATTACHMENTS}: {dumps(item)} is not an attachment")
        found.add(owner(config, item["containerID"], item["ifname"]))
    return found


OPERATIONS: "dict[str, Callable[[Call, Config], Object | None]]" = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "STATUS": status,
    "GC": collect,
}


def version(stdin: bytes) -> "Object":
    """Section 5, "VERSION Success". Older engines pass nothing."""
    whole = _decoded(stdin) if stdin.strip() else {}
    asked = whole.get("cniVersion") if isinstance(whole, dict) else None
    return {"cniVersion": asked if isinstance(asked, str) else LATEST, "supportedVersions": list(VERSIONS)}


# ------------------------------------------------------------------------------------------------------------- process


def _decoded(stdin: bytes) -> "Any":
    try:
        return loads(stdin)
    except (ValueError, RecursionError) as error:
        raise Failure(DECODE, "the network configuration is not JSON", str(error)) from None


def read_stdin() -> bytes:
    """Raises Failure."""
    whole = b""
    try:
        while some := posix.read(0, 65536):
            whole += some
            if len(whole) > MOST:
                raise Failure(IO, f"the network configuration is larger than {MOST} octets")
    except OSError as error:
        raise Failure(IO, f"cannot read the network configuration from stdin: {error.strerror}") from None
    return whole


def write_stdout(text: str) -> bool:
    """Whether somebody reads it."""
    rest = text.encode() + b"\n"
    try:
        while rest:
            rest = rest[posix.write(1, rest) :]
    except OSError:
        return False
    return True


class Run:
    """One call: what it prints, and the exit status."""

    def __init__(self) -> None:
        self.version = LATEST
        """For errors: as asked, as soon as that is known."""
        self.added: tuple[Call, Config] | None = None

    def answer(self, environment: "Mapping[bytes, bytes]") -> str:
        """Raises Failure."""
        call = Call(environment)
        if call.command == "VERSION":
            return dumps(version(b"" if posix.isatty(0) else read_stdin()))
        config = Config(_decoded(read_stdin()))
        self.version = config.version
        if call.command == "ADD":
            self.added = call, config
        answer = OPERATIONS[call.command](call, config)
        return "" if answer is None else dumps(answer)

    def status(self, environment: "Mapping[bytes, bytes]") -> int:
        """Whatever happens, the engine gets its answer."""
        try:
            answer = self.answer(environment)
        except Failure as failure:
            return self.fail(failure)
        except Exception as error:  # noqa: BLE001  # the edge of the process
            return self.fail(Failure(UNEXPECTED, "unexpected error", f"{type(error).__name__}: {error}"))
        if not answer or write_stdout(answer):
            return 0
        self.undo()
        return 1

    def undo(self) -> None:
        """Nobody learns what was made."""
        if self.added is not None:
            try:
                delete(*self.added)
            except Failure:
                return  # the engine's DEL is still to come

    def fail(self, failure: Failure) -> int:
        told = {"cniVersion": self.version, "code": failure.code, "msg": failure.msg}
        write_stdout(dumps({**told, **({"details": failure.details} if failure.details else {})}))
        return 1


def main() -> int:
    return Run().status(posix.environ)


if __name__ == "__main__":
    posix._exit(main())  # nothing is left to tidy up, and the interpreter would take a millisecond for it
