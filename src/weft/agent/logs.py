"""Structured logs on stderr: a line each, as text for people or as JSON for collectors."""

from __future__ import annotations

import json
import logging
import sys
import time

from weft.base.errors import one_line


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        event = f"[{name}] " if (name := _event(record)) else ""
        said = f"{event}{one_line(record.getMessage())}"
        line = f"{stamp}.{int(record.msecs):03}Z {record.levelname.lower():7} {_area(record)}: {said}"
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "area": _area(record),
            "message": record.getMessage(),
        }
        if name := _event(record):
            entry["event"] = name
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _area(record: logging.LogRecord) -> str:
    return record.name.removeprefix("weft.")


def _event(record: logging.LogRecord) -> str:
    """Its stable name (`weft.base.events`); "" where it has none."""
    return str(getattr(record, "event", ""))


def set_up(form: str, level: str) -> None:
    """`form`: "text" or "json"; `level`: as `logging` names them, lower case."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
