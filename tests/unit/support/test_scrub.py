from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.support.scrub import REMOVED, Scrub, forms


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('password = "hunter22"', 'password = "(removed)"'),
        ("store = 'etcds://weft:hunter22@h1:2379,h2:2379/p'", "store = 'etcds://(removed)@h1:2379,h2:2379/p'"),
        ("etcds://weft:a@b/hunter22?x@h1 is away", "etcds://(removed)@h1 is away"),
        ('{"db.password": "hunter22", "n": 1}', '{"db.password": "(removed)", "n": 1}'),
        ('{"x": "{\\"token\\": \\"hunter22\\", \\"n\\": 1}"}', '{"x": "{\\"token\\": \\"(removed)\\", \\"n\\": 1}"}'),
        ("OS_PASSWORD=hunter22 OS_USER=weft", "OS_PASSWORD=(removed) OS_USER=weft"),
        ("  password: hunter22", "  password: (removed)"),
        ('  password "hunter22";', '  password "(removed)";'),
        ("authorization: Bearer hunter22hunter22", "authorization: (removed)"),
        ("sent Bearer hunter22hunter22 twice", "sent Bearer (removed) twice"),
        ("private key: hunter22", "private key: (removed)"),
        ("\tpreshared key: hunter22", "\tpreshared key: (removed)"),
        ("aead rfc4106(gcm(aes)) 0x0123456789abcdef 128", "aead rfc4106(gcm(aes)) (removed) 128"),
        ("enc cbc(aes) 0x0123456789abcdef", "enc cbc(aes) (removed)"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key (removed) used"),
        ("aws_secret_access_key=hunter22/x+y", "aws_secret_access_key=(removed)"),
        ("-----BEGIN EC PRIVATE KEY-----\nhunter22\n-----END EC PRIVATE KEY-----\nmore",
         "-----BEGIN EC PRIVATE KEY-----(removed)\nmore"),
        ("-----BEGIN PRIVATE KEY-----\nhunter22\nand it was cut", "-----BEGIN PRIVATE KEY-----(removed)"),
        # Not secret.
        ('{"password": true, "secret": null, "token": ""}', None),
        ('store-password-file = "/etc/weft/etcd.password"', None),
        ("mesh-secret = '/etc/weft/mesh'", None),
        ("etcd://weft@h1:2379/weft", None),
        ("fd00::1 dev eth0 lladdr 02:42:0a:14:00:03 REACHABLE", None),
        ('{"key": "AAEC", "data": "AwQ=", "keys": [1]}', None),
        ("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----", None),
    ],
)  # fmt: skip
def test_what_looks_secret(text: str, kept: str | None) -> None:
    assert Scrub().clean(text.encode()).decode() == (text if kept is None else kept)
    assert "hunter22" not in (kept or "")


@given(st.text(min_size=4, max_size=40).filter(lambda s: len(s.strip().encode()) >= 4), st.text(max_size=20))
def test_what_is_known_is_found_however_it_is_written(secret: str, around: str) -> None:
    octets = secret.encode("utf-8", "ignore").strip()
    for form in forms(octets):
        cleaned = Scrub([octets]).clean(around.encode("utf-8", "ignore") + b" " + form + b" end")
        assert form not in cleaned.replace(REMOVED, b"")


@given(st.binary(min_size=16, max_size=32))
def test_keys_of_any_octets(key: bytes) -> None:
    scrub = Scrub([key])
    if len(key.strip()) >= 4:
        text = json.dumps({"a": base64.b64encode(key.strip()).decode(), "b": key.strip().hex()}).encode()
        assert scrub.clean(text) == b'{"a": "(removed)", "b": "(removed)"}'


NAMES = st.sampled_from(["a", "password", "db.token", "secret"]) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
)


@given(VALUES)
def test_a_document_stays_one(value: object) -> None:
    msgspec.json.decode(Scrub([b"some secret"]).clean_json(msgspec.json.encode(value)))


def test_names_in_a_document_say_what_is_secret() -> None:
    hidden = {
        "password": 4711,
        "api-key": ["hunter22", {"x": "hunter22"}],
        "n": 'token="hunter22"',
        "password-set": True,
    }
    cleaned = msgspec.json.decode(Scrub().clean_json(msgspec.json.encode({"labels": hidden, "name": "web"})))
    gone = "(removed)"
    assert cleaned == {
        "labels": {"password": gone, "api-key": [gone, {"x": gone}], "n": f'token="{gone}"', "password-set": True},
        "name": "web",
    }
    assert b"hunter22" not in Scrub().clean_json(b'{"password": "hunter22" broken')


def test_it_is_counted() -> None:
    scrub = Scrub([b"hunter22"])
    scrub.clean(b"hunter22 hunter22 password=x token: y password: true")
    assert scrub.removed == 4
