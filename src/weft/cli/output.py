"""The one place where results are printed: `-o table`, `-o json`, `-o yaml`.

JSON and YAML are the API's types as they are, so their keys are stable. Tables are for people.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from weft.base.errors import Failed, one_line
from weft.cli.table import Page
from weft.model import to_builtins

T = TypeVar("T")


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to show it.")]


def show(value: T, output: Format, render: Callable[[Page, T], Iterable[str]]) -> None:
    """`render` gives the lines of the table form."""
    if output is Format.TABLE:
        say(*render(Page.of_stdout(), value))
    elif output is Format.JSON:
        import json

        say(_escaped(json.dumps(to_builtins(value), indent=2, ensure_ascii=False)))
    else:
        write(yaml_of(value))


def show_each(values: Sequence[T], output: Format, render: Callable[[Page, T], Iterable[str]]) -> None:
    """One as `show` does; several as tables with an empty line between, as a JSON list, or as YAML documents."""
    if len(values) == 1:
        show(values[0], output, render)
    elif output is Format.TABLE:
        page = Page.of_stdout()
        say(*blocks(*(render(page, value) for value in values)))
    elif output is Format.JSON:
        show(values, output, lambda _page, _values: ())
    else:
        write("---\n".join(map(yaml_of, values)))


def yaml_of(value: object) -> str:
    """Without what a terminal would obey."""
    from weft.documents import text

    plain = to_builtins(value)
    shown = text.text(plain, allow_unicode=True)
    return shown if shown.replace("\n", "").isprintable() else text.text(plain)


def documents(found: Sequence[object], output: Format) -> None:
    """As `weft apply` takes them."""
    write(documents_of(found, output))


def documents_of(found: Sequence[object], output: Format) -> str:
    """In YAML one after the other; in JSON several are a list."""
    if output is Format.YAML:
        return "---\n".join(map(yaml_of, found))
    import json

    whole = found[0] if len(found) == 1 else {"apiVersion": "weft/v1", "kind": "List", "items": found}
    return _escaped(json.dumps(whole, indent=2, ensure_ascii=False)) + "\n"


def json_line(value: object) -> str:
    """For output that goes on and on: each value is a line."""
    import json

    return _escaped(json.dumps(to_builtins(value), ensure_ascii=False))


def _escaped(text: str) -> str:
    """JSON in which what a terminal would obey (C1 controls, bidirectional marks) is written as \\uXXXX. Outside of strings
    JSON has none of these."""
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def say(*lines: str) -> bool:
    """Whether somebody still reads. Raises Failed."""
    return write("".join(f"{line}\n" for line in lines))


def write(text: str) -> bool:
    """A reader that has had enough (`weft endpoint ls | head`) is no failure: the rest goes nowhere. Raises Failed."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return False
    except OSError as error:
        _discard_stdout()
        raise Failed(f"the output could not be written: {error.strerror}") from None
    return True


def _discard_stdout() -> None:
    """What could not be written would be tried once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str) -> None:
    """One line on stderr, whatever is in the message."""
    sys.stderr.write(f"weft: {one_line(' '.join(message.split()))}\n")


# ------------------------------------------------------------------------------- values as people write them


def listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def mapped(values: Mapping[str, str | int | bool]) -> str:
    """`a=1, b=true`, as it is given on the command line."""
    return ", ".join(f"{key}={plain(value)}" for key, value in values.items())


def plain(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def span(seconds: float) -> str:
    """A duration in its one largest unit, such as `3 h`."""
    return next((f"{int(seconds // size)} {unit}" for size, unit in _UNITS if seconds >= size), "0 s")


def ago(moment: float) -> str:
    """How long since, from Unix seconds."""
    return span(max(time.time() - moment, 0))


def due(moment: float) -> str:
    left = moment - time.time()
    return f"in {span(left)}" if left >= 1 else "now"


def blocks(*parts: Iterable[str]) -> Iterator[str]:
    """The parts that have lines, an empty line between them."""
    first = True
    for part in parts:
        for number, line in enumerate(part):
            if number == 0 and not first:
                yield ""
            first = False
            yield line
