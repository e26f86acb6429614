"""Names and addresses made from other names: the same input gives the same output on every host, for ever."""

from __future__ import annotations

import hashlib
import re

from weft.base.errors import Invalid

IFNAMSIZ = 15
"""Longest device name, without the closing NUL (linux/if.h)."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_IFNAME = re.compile(r"[^\s/:]{1,15}")


def check_name(kind: str, name: str) -> str:
    """A name fit for keys, files and DNS: lower case letters, digits, '.', '_', '-'; at most 63 of them."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"'{name}' is not a {kind} name: use 1 to 63 of a-z, 0-9, '.', '_', '-', "
            "beginning and ending with a letter or digit"
        )
    return name


def check_ifname(name: str) -> str:
    """A device name the kernel takes (dev_valid_name in net/core/dev.c)."""
    if not _IFNAME.fullmatch(name) or name in (".", ".."):
        raise Invalid(f"'{name}' is not an interface name: use 1 to 15 characters without space, '/' or ':'")
    return name


def digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()


def device(prefix: str, name: str) -> str:
    """A device name: `prefix` + `name` where that fits, else cut and made unique by a hash of the whole."""
    whole = prefix + name
    if len(whole) <= IFNAMSIZ:
        return whole
    tail = digest(whole).hex()[:5]
    return f"{whole[: IFNAMSIZ - 6]}-{tail}"


def stable_mac(*parts: str) -> str:
    """A locally administered unicast MAC address (RFC 7042 §2.1) that is the same after every reboot."""
    octets = bytearray(digest("mac", *parts)[:6])
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def stable_id(*parts: str) -> int:
    """A positive 63-bit number, such as etcd takes for a lease."""
    return int.from_bytes(digest("id", *parts)[:8], "big") >> 1 or 1
