"""Make `etcd_pb2.py` and `etcd_pb2.pyi` from `etcd.proto`: `python -m weft.store.etcd_api.generate`.

Needs grpcio-tools (a development dependency). The result is kept in the repository, so users need no compiler.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
"""The folder `weft` lies in: protoc names modules relative to it."""


def main() -> int:
    protoc = importlib.import_module("grpc_tools.protoc")  # has no type stubs
    proto = str(HERE.relative_to(ROOT) / "etcd.proto")
    status: int = protoc.main(["protoc", f"-I{ROOT}", f"--python_out={ROOT}", f"--pyi_out={ROOT}", str(ROOT / proto)])
    types = HERE / "etcd_pb2.pyi"
    types.write_text('# mypy: disable-error-code="type-arg"\n' + types.read_text())  # protoc writes a bare Mapping
    return status


if __name__ == "__main__":
    sys.exit(main())
