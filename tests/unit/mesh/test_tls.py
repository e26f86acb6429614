"""Without the secret nobody is a voter or speaks to one."""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from weft.base.errors import Failed
from weft.mesh import tls
from weft.mesh.secret import Secret

OURS, OTHERS = Secret(b"a secret of sixteen octets"), Secret(b"another one of that length")
HERE = (ip_address("192.168.1.68"), ip_address("fd00::68"))


def shake(folder: Path, server: Secret, client: Secret, name: str = tls.NAME) -> None:
    """A handshake in memory. Raises ssl.SSLError."""
    tls.write(folder / "server", tls.issue(server, HERE))
    tls.write(folder / "client", tls.client(client))
    accepting, asking = _context(folder / "server", ssl.Purpose.CLIENT_AUTH), _context(folder / "client")
    accepting.verify_mode = ssl.CERT_REQUIRED
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        asking.wrap_bio(to_client, to_server, server_hostname=name),
        accepting.wrap_bio(to_server, to_client, server_side=True),
    ]
    for end in ends * 2:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue


def _context(folder: Path, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose, cafile=str(folder / tls.CA))
    context.load_cert_chain(folder / tls.CERT, folder / tls.KEY)
    return context


@pytest.mark.parametrize("name", [tls.NAME, "192.168.1.68", "fd00::68"])
def test_hosts_of_one_secret_know_each_other(tmp_path: Path, name: str) -> None:
    shake(tmp_path, OURS, OURS, name)


@pytest.mark.parametrize(("server", "client"), [(OURS, OTHERS), (OTHERS, OURS)])
def test_another_secret_is_refused(tmp_path: Path, server: Secret, client: Secret) -> None:
    with pytest.raises(ssl.SSLError):
        shake(tmp_path, server, client)


def test_another_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLError):
        shake(tmp_path, OURS, OURS, "192.168.1.69")


def test_a_wrong_clock_shuts_nobody_out() -> None:
    for text in (tls.client(OURS).ca, tls.client(OURS).cert):
        cert = x509.load_pem_x509_certificate(text)
        assert (cert.not_valid_before_utc.year, cert.not_valid_after_utc.year) == (1970, 9999)


def test_files_are_read_by_their_owner_only_and_kept_while_they_fit(tmp_path: Path) -> None:
    assert not tls.fits(tmp_path, OURS, HERE)
    tls.write(tmp_path / "a", tls.issue(OURS, HERE))
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()} == {0o600}
    assert tls.fits(tmp_path / "a", OURS, HERE[:1])
    assert not tls.fits(tmp_path / "a", OTHERS, HERE)
    assert not tls.fits(tmp_path / "a", OURS, (ip_address("192.168.1.69"),))
    (tmp_path / "a" / tls.CERT).write_text("nothing")
    assert not tls.fits(tmp_path / "a", OURS, HERE)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="cannot write the voter's certificates"):
        tls.write(tmp_path / "file", tls.client(OURS))
