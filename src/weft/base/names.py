"""Names and addresses made from other names: the same input gives the same output on every host, for ever."""

from __future__ import annotations

import re
from collections.abc import Mapping

from weft.base.errors import Invalid

IFNAMSIZ = 15
"""Longest device name, without the closing NUL (linux/if.h)."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_IFNAME = re.compile(r"[!-~]{1,15}")
_NO_IFNAME = frozenset("/:%")
_RESERVED = frozenset((".", "..", "all", "default"))


def check_name(kind: str, name: str) -> str:
    """A name fit for keys, files and DNS: lower case letters, digits, '.', '_', '-'; at most 63 of them."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"'{name[:80]}' is not {'an' if kind[0] in 'aeiou' else 'a'} {kind} name: use 1 to 63 of a-z, 0-9, '.', '_', '-', "
            "beginning and ending with a letter or digit"
        )
    return name


def check_ifname(name: str) -> str:
    """A device name that the kernel takes as it is (dev_valid_name in net/core/dev.c), and that every tool can show.

    The kernel fills in a number for '%' (dev_alloc_name), and has settings of its own under the names "all" and "default"
    (sysctl_dev_name_is_allowed). It would take control characters and other bytes; a terminal would not."""
    if not _IFNAME.fullmatch(name) or _NO_IFNAME & set(name) or name in _RESERVED:
        raise Invalid(
            f"'{name[:80]}' is not an interface name: use 1 to 15 characters of ASCII without space, '/', ':' or '%', "
            "and not 'all' or 'default'"
        )
    return name


LONGEST_LABEL, LONGEST_VALUE, MOST_LABELS = 317, 4096, 256
"""Of what containers are labelled with; 317 is the longest key of a label in Kubernetes (253 of a DNS name, '/', 63)."""


def check_texts(what: str, labels: Mapping[str, str]) -> None:
    """Labels that nobody selects by, such as a container brings along: any text that a terminal can show. Raises Invalid."""
    if len(labels) > MOST_LABELS:
        raise Invalid(f"{what}: {len(labels)} labels are too many: at most {MOST_LABELS}")
    for key, value in labels.items():
        if not 1 <= len(key) <= LONGEST_LABEL or not key.isprintable():
            raise Invalid(f"{what}: '{key[:80]}' is not a label: use 1 to {LONGEST_LABEL} printable characters")
        if len(value) > LONGEST_VALUE or not value.isprintable():
            raise Invalid(
                f"{what}: label {key} has a value that is longer than {LONGEST_VALUE} characters or not printable"
            )


def digest(*parts: str) -> bytes:
    import hashlib  # with OpenSSL's library, which the command line does without

    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()


def device(prefix: str, name: str, attempt: int = 0) -> str:
    """A device name: `prefix` + `name` where that fits, else cut and marked with 20 bits of a hash of the whole. That is not
    always unique: `attempt` 1, 2 … give others, for whoever finds that the name is taken."""
    whole = prefix + name
    if len(whole) <= IFNAMSIZ and not attempt:
        return whole
    tail = digest(whole, *([str(attempt)] if attempt else [])).hex()[:5]
    return f"{whole[: IFNAMSIZ - 6]}-{tail}"


def stable_mac(*parts: str) -> str:
    """A locally administered unicast MAC address (RFC 7042 §2.1) that is the same after every reboot."""
    octets = bytearray(digest("mac", *parts)[:6])
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def stable_id(*parts: str) -> int:
    """A positive 63-bit number, such as etcd takes for a lease."""
    return int.from_bytes(digest("id", *parts)[:8], "big") >> 1 or 1


def sysctl_name(path: str) -> str:
    """A setting below /proc/sys as sysctl(8) has to be told it: `net/ipv4/conf/weft.1/mtu` is `net.ipv4.conf.weft/1.mtu`."""
    return path.translate(str.maketrans("./", "/."))
