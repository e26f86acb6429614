"""The agent's API out of its OpenAPI document: a page for each resource, with the types that only it uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tools.reference.markdown import block, code, join, page, paragraphs, table, text
from weft.agent.http import openapi
from weft.api.operations import NODE, PATIENCE

Json = dict[str, Any]
_REF = "#/components/schemas/"
_SHARED = "types"
_SUMMARY = {
    NODE: "the node whose agent answers; else the one that is called",
    PATIENCE: "seconds for which that answer is waited for",
}


def pages() -> dict[str, str]:
    document = openapi()
    resources = _resources(document)
    homes = _homes(document, resources)
    made = {f"api/{name}.md": _resource(name, found, document, homes) for name, found in resources.items()}
    made[f"api/{_SHARED}.md"] = page(
        "Types that several resources use", *_types(_SHARED, document["components"]["schemas"], homes)
    )
    return {"api/index.md": _index(resources), **made}


def _index(resources: dict[str, list[tuple[str, str, Json]]]) -> str:
    rows = [
        (f"[`{method} {path}`]({name}.md#{_anchor(method, path)})", text(operation["summary"]))
        for name, found in resources.items()
        for method, path, operation in found
    ]
    return page(
        "API",
        "Everything that `weft` does goes through this API of the agent's: HTTP and JSON on a unix socket,"
        " `/run/weft/weft.sock` if the settings name no other. Who may open the socket may do everything"
        " ([security](../../security.md)); there is no other authentication, and no TCP port.",
        block(
            "curl --unix-socket /run/weft/weft.sock http://localhost/v1/status\n"
            "curl --unix-socket /run/weft/weft.sock http://localhost/openapi.json   # OpenAPI 3.1, of this very agent"
        ),
        _PROMISE,
        "## Operations",
        table(("", ""), rows),
    )


_PROMISE = """\
## What stays as it is

`/v1` in a path is a promise, for as long as there is a `/v1`:

- An operation keeps its method, its path, its parameters and what it does.
- A reply keeps its fields, with their types and meaning. New fields are added, so ignore those that you do not know.
- A request that was accepted is accepted. A new field of a request may be left out, and then all is as it was before. A
  field that the agent does not know is refused, so that a typing error does not pass for a wish.
- The words of `error` ([errors](../errors.md)) and the HTTP statuses that belong to them stay. The text of `message` is
  for people and may change at any time.
- A list has no promised order unless its page says so. A text that is one of several words may get further words.

What would break this becomes `/v2`, and both are served for a year at least. Not promised are `/v1/kernel`, `/v1/watches`
and `/v1/probes`, which agents use among themselves: they follow the kernel and the version, and say so by their types'
names (`…Dump`).

## Errors

Whatever fails is answered with the HTTP status of its kind, and [`Error`](types.md#error) as JSON: a word for programs, a
line for people.

## Another node's agent

Operations that list the header `Weft-Node` can be asked of any agent for any other node: the question and the answer go
through the store, and no port is opened. `Weft-Patience` says for how many seconds the answer is waited for.
"""


def _resources(document: Json) -> dict[str, list[tuple[str, str, Json]]]:
    """Method, path and operation, by the first word of the path."""
    found: dict[str, list[tuple[str, str, Json]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found.setdefault(path.split("/")[2], []).append((method.upper(), path, operation))
    return dict(sorted(found.items()))


def _homes(document: Json, resources: dict[str, list[tuple[str, str, Json]]]) -> dict[str, str]:
    """On which page each type is: that of the only resource that uses it, or the shared one."""
    schemas, users = document["components"]["schemas"], dict[str, set[str]]()
    for name, found in resources.items():
        for type in _reached(schemas, [operation for _, _, operation in found]):
            users.setdefault(type, set()).add(name)
    return {type: next(iter(names)) if len(names) == 1 else _SHARED for type, names in users.items()}


def _reached(schemas: Json, start: Any) -> set[str]:
    found, waiting = set[str](), list(_refs(start))
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += _refs(schemas[name])
    return found


def _refs(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix(_REF)
        for inner in schema.values():
            yield from _refs(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _refs(inner)


def _resource(name: str, found: list[tuple[str, str, Json]], document: Json, homes: dict[str, str]) -> str:
    types = _types(name, document["components"]["schemas"], homes)
    operations = [_operation(method, path, operation, name, homes) for method, path, operation in found]
    return page(f"/v1/{name}", *operations, *(["## Types", *types] if types else []))


def _operation(method: str, path: str, operation: Json, name: str, homes: dict[str, str]) -> str:
    parameters = [(code(p["name"]), _kind(p), _SUMMARY.get(p["name"], "")) for p in operation["parameters"]]
    request = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    reply = operation["responses"]["200"]["content"]["application/json"]["schema"]
    link = _Links(name, homes)
    return join(
        f"## {method} {path}",
        f"{text(operation['summary'])}. In the client: `{operation['operationId']}`.",
        table(("parameter", "in", ""), parameters),
        f"Request: {link.type(request)}" if request else "",
        f"Reply: {link.type(reply)}",
    )


def _kind(parameter: Json) -> str:
    return str(parameter["in"]) + ("" if parameter["required"] else ", may be left out")


def _anchor(method: str, path: str) -> str:
    """Of the heading `METHOD PATH`, as forges and the site make them."""
    kept = "".join(c for c in f"{method} {path}".lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _types(home: str, schemas: Json, homes: dict[str, str]) -> list[str]:
    link = _Links(home, homes)
    return [_type(name, schema, link) for name, schema in schemas.items() if homes.get(name) == home]


class _Links:
    """Types as they are written on one page."""

    def __init__(self, page: str, homes: dict[str, str]) -> None:
        self._page, self._homes = page, homes

    def type(self, schema: Json) -> str:
        if "$ref" in schema:
            return self._named(schema["$ref"].removeprefix(_REF))
        if "anyOf" in schema:
            return " or ".join(self.type(inner) for inner in schema["anyOf"])
        if "enum" in schema:
            return ", ".join(code(json.dumps(value, ensure_ascii=False)) for value in schema["enum"])
        if "const" in schema:
            return code(json.dumps(schema["const"], ensure_ascii=False))
        kind = schema.get("type", "anything")
        if kind == "array" and isinstance(inner := schema.get("items"), dict):
            return f"list of {self.type(inner)}"
        if kind == "array" and "prefixItems" in schema:
            return "list: " + ", ".join(self.type(inner) for inner in schema["prefixItems"])
        if kind == "object" and isinstance(inner := schema.get("additionalProperties"), dict):
            return f"object, each value: {self.type(inner)}"
        said = schema.get("description", "")
        return f"{kind} ({text(said)})" if said else str(kind)

    def _named(self, name: str) -> str:
        home = self._homes[name]
        return f"[{name}]({'' if home == self._page else f'{home}.md'}#{name.lower()})"


def _type(name: str, schema: Json, link: _Links) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (code(field), link.type(inner), "" if field in required else code(json.dumps(inner.get("default"))))
        for field, inner in schema.get("properties", {}).items()
    ]
    fields = table(("field", "type", "when left out"), rows) if rows else f"{link.type(schema)}\n"
    return join(f"### {name}", paragraphs(schema.get("description")), fields)
