"""An etcd as a cluster's is to be: over TLS, and with a user for Weft's prefix."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.etcd import EtcdServer

USER, PASSWORD = "weft", "pass:w@rd/"
"""Of the agents, in /weft/."""


class GuardedEtcd(EtcdServer):
    """`ca`: the file of who signed its certificate."""

    def __init__(self, directory: Path, address: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.ca = certificates(directory, address)
        tls = (f"--cert-file={directory / 'server.pem'}", f"--key-file={directory / 'server.key'}")
        super().__init__(directory / "etcd", tls, address, self.ca)

    @property
    def url(self) -> str:
        return f"etcds://{USER}@{self.endpoint}"

    def make_users(self) -> None:
        for words in (
            ("role", "add", "root"),
            ("user", "add", "root", "--new-user-password=master"),
            ("user", "grant-role", "root", "root"),
            ("role", "add", "weft"),
            ("role", "grant-permission", "weft", "--prefix=true", "readwrite", "/weft/"),
            ("user", "add", USER, f"--new-user-password={PASSWORD}"),
            ("user", "grant-role", USER, "weft"),
            ("auth", "enable"),
        ):
            self.ctl(*words)


@contextmanager
def guarded_etcd(directory: Path, address: str) -> Iterator[GuardedEtcd]:
    """In the network namespace of the calling thread."""
    server = GuardedEtcd(directory, address)
    server.start()
    try:
        server.make_users()
        yield server
    finally:
        server.stop()


def certificates(folder: Path, address: str) -> Path:
    """server.pem and server.key of a server at this address, by an authority whose certificate is returned."""

    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)

    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    (folder / "server.ext").write_text(f"subjectAltName=IP:{address}\n")
    openssl(f"req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=ca -days 2")
    openssl(f"req -new {key} -keyout server.key -out server.csr -subj /CN=server")
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.pem"
    )
    return folder / "ca.pem"
