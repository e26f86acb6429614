"""The plugin as engines want it: one executable file, that needs neither a shell nor this package.

Beside the plugin's text it holds the compiled code, because compiling takes as long as all the rest; another interpreter
than the one it was made for finds out by the magic number, and compiles.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
import tempfile
import zlib
from base64 import b64encode
from pathlib import Path
from types import CodeType

from weft.base.errors import Denied, Failed, Invalid
from weft.cni import plugin

NAME = "weft-cni"
BIN = Path("/opt/cni/bin")
"""Where engines look, unless they are told otherwise."""

_TEMPLATE = """\
#!{python} -SI
# Weft's CNI plugin, made by `weft cni install`: do not edit, make it again.
import marshal
from _frozen_importlib_external import MAGIC_NUMBER
from binascii import a2b_base64
TEXT = {text!r}
CODE = {code!r}
def compiled():
    from zlib import decompress
    return compile(decompress(a2b_base64(TEXT)), "{name}", "exec")
exec(marshal.loads(a2b_base64(CODE)) if MAGIC_NUMBER == {magic!r} else compiled())
"""


def interpreter() -> Path:
    """The system's, where it is of our version: it stays when a virtual environment is made anew. Else the one behind ours."""
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    return system if system.exists() else Path(sys.executable).resolve()


def launcher(python: Path) -> bytes:
    """The file's content. Raises Invalid where no `#!` line can name the interpreter (execve(2))."""
    if any(c.isspace() for c in str(python)) or len(str(python)) > 120:
        raise Invalid(f"'{python}' cannot stand in a #! line: it has spaces or is too long; use another Python")
    text = Path(plugin.__file__).read_bytes()
    code = marshal.dumps(_stripped(compile(text, NAME, "exec", dont_inherit=True, optimize=2)))
    parts = {"text": b64encode(zlib.compress(text, 9)), "code": b64encode(code)}
    return _TEMPLATE.format(python=python, name=NAME, magic=importlib.util.MAGIC_NUMBER, **parts).encode()


def _stripped(code: CodeType) -> CodeType:
    """Without line numbers: a third of it, and no traceback is ever printed."""
    consts = tuple(_stripped(const) if isinstance(const, CodeType) else const for const in code.co_consts)
    return code.replace(co_linetable=b"", co_consts=consts)


def install(folder: Path = BIN) -> Path:
    """Where it is now. One that an engine is starting this moment is the old or the new one, never a half. Raises Denied,
    Failed, Invalid."""
    content = launcher(interpreter())
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{NAME}-", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).chmod(0o755)
            return Path(temporary).rename(folder / NAME)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except PermissionError:
        raise Denied(f"{folder} cannot be written: run this as root, or choose another with --bin-dir") from None
    except OSError as error:
        raise Failed(f"{folder / NAME} cannot be written: {error.strerror}") from None
