"""What the page of the API reference shows, from the OpenAPI document. Pure.

Depends on OpenAPI, not on this API: a new operation or field needs no change here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Node = Mapping[str, Any]

_NO_SLUG = re.compile(r"[^a-z0-9]+")
_METHODS = frozenset({"get", "post", "put", "patch", "delete"})
_LIMITS = {
    "max_file_bytes": ("Largest file", " bytes"),
    "max_upload_bytes": ("Largest file in parts", " bytes"),
    "max_lines": ("Most lines in a batch", ""),
    "max_line_bytes": ("Longest line, largest interactive request", " bytes"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter or field. `target` names the object that the type links to."""

    name: str
    type: str
    target: str | None
    bounds: tuple[str, ...]
    is_required: bool
    text: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent."""

    media: str
    target: str | None
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that is no error, or that of a server that is not ready."""

    status: str
    text: str
    media: str
    target: str | None
    example: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One cause of an error."""

    status: str
    when: str
    code: str
    param: str
    message: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One example of a call."""

    label: str
    source: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    anchor: str
    method: str
    path: str
    title: str
    text: str
    is_extension: bool
    parameters: tuple[Row, ...]
    bodies: tuple[Body, ...]
    answers: tuple[Answer, ...]
    problems: tuple[Problem, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The operations of one tag."""

    anchor: str
    title: str
    text: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """One object, or one set of words."""

    anchor: str
    title: str
    text: str
    rows: tuple[Row, ...]
    words: tuple[tuple[str, str], ...]
    example: str


@dataclass(frozen=True, slots=True)
class Reference:
    """The whole page."""

    version: str
    text: str
    limits: tuple[tuple[str, str], ...]
    groups: tuple[Group, ...]
    problems: tuple[Problem, ...]
    shapes: tuple[Shape, ...]


def reference(document: Node) -> Reference:
    """Read the document."""
    reader = _Reader(document)
    return Reference(
        version=document["info"]["version"],
        text=document["info"]["description"],
        limits=tuple(_limits(document["info"].get("x-limits", {}))),
        groups=tuple(reader.groups()),
        problems=tuple(reader.shared()),
        shapes=tuple(reader.shapes()),
    )


def schema_anchor(name: str) -> str:
    """Return the fragment under which an object is found on the page."""
    return f"schema-{name}"


class _Reader:
    def __init__(self, document: Node) -> None:
        self._document = document
        self._schemas: Node = document["components"]["schemas"]
        sent = set(_sent_names(document["paths"]))
        self._listed = {n for n, s in self._schemas.items() if n not in sent and _is_listed(s)}

    def groups(self) -> Iterator[Group]:
        for tag in self._document["tags"]:
            name = tag["name"]
            found = tuple(
                self._operation(path, method, item, operation)
                for path, method, item, operation in self._operations()
                if name in operation["tags"]
            )
            yield Group(f"tag-{_slug(name)}", name, tag.get("description", ""), found)

    def shared(self) -> Iterator[Problem]:
        """Yield the errors that any operation may answer, by status."""
        found = {
            problem: None
            for *_, operation in self._operations()
            for problem in _problems(operation, are_shared=True)
        }
        yield from sorted(found, key=lambda problem: problem.status)

    def shapes(self) -> Iterator[Shape]:
        for name in sorted(self._listed):
            schema = self._schemas[name]
            yield Shape(
                anchor=schema_anchor(name),
                title=name,
                text=schema.get("description", ""),
                rows=tuple(self._rows(schema)),
                words=tuple(schema.get("x-enumDescriptions", {}).items()),
                example=_example(schema),
            )

    def _operations(self) -> Iterator[tuple[str, str, Node, Node]]:
        for path, item in self._document["paths"].items():
            for method, operation in item.items():
                if method in _METHODS:
                    yield path, method, item, operation

    def _operation(self, path: str, method: str, item: Node, operation: Node) -> Operation:
        given = [*item.get("parameters", ()), *operation.get("parameters", ())]
        return Operation(
            anchor=operation["operationId"],
            method=method.upper(),
            path=path,
            title=operation["summary"],
            text=operation.get("description", ""),
            is_extension=operation.get("x-extension", False),
            parameters=tuple(self._parameter(self._resolved(node)) for node in given),
            bodies=tuple(self._bodies(operation.get("requestBody", {}))),
            answers=tuple(self._answers(operation)),
            problems=tuple(_problems(operation, are_shared=False)),
            samples=tuple(
                Sample(sample["label"], sample["source"]) for sample in operation["x-codeSamples"]
            ),
        )

    def _parameter(self, node: Node) -> Row:
        return self._row(
            node["name"],
            node["schema"],
            is_required=node.get("required", False),
            text=node.get("description", ""),
            place=node["in"],
        )

    def _bodies(self, body: Node) -> Iterator[Body]:
        for media, content in body.get("content", {}).items():
            schema = content["schema"]
            rows = tuple(self._rows(self._resolved(schema)))
            yield Body(media, self._target(schema), rows)

    def _answers(self, operation: Node) -> Iterator[Answer]:
        for status, answer in operation["responses"].items():
            for media, content in answer.get("content", {"": {}}).items():
                schema = content.get("schema", {})
                if "examples" in content:
                    continue  # an error: `_problems` lists its causes
                yield Answer(
                    status=status,
                    text=answer["description"],
                    media=media,
                    target=self._target(schema),
                    example=_example(self._resolved(schema)),
                )

    def _rows(self, schema: Node, prefix: str = "") -> Iterator[Row]:
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            yield self._row(prefix + name, field, is_required=name in required)
            inner = self._resolved(field)
            if "properties" in inner and self._target(field) is None:
                yield from self._rows(inner, f"{prefix}{name}.")

    def _row(
        self, name: str, field: Node, *, is_required: bool, text: str = "", place: str = ""
    ) -> Row:
        schema = self._resolved(field)
        return Row(
            name=name,
            type=self._type(field),
            target=self._target(field),
            bounds=tuple(_bounds(schema)),
            is_required=is_required,
            text=text or field.get("description") or schema.get("description", ""),
            place=place,
        )

    def _type(self, field: Node) -> str:
        schema = self._resolved(field)
        if "anyOf" in schema:
            return " or ".join(self._type(option) for option in schema["anyOf"])
        target = self._target(field)
        if target is not None:
            return f"array of {target}" if schema.get("type") == "array" else target
        if "const" in schema:
            return "string" if isinstance(schema["const"], str) else "boolean"
        kinds = schema.get("type", "any")
        text = kinds if isinstance(kinds, str) else " or ".join(kinds)
        return "file" if schema.get("format") == "binary" else text

    def _target(self, field: Node) -> str | None:
        """Return the name of the listed object that a field, or what it holds, refers to."""
        for node in (field, field.get("items", {}), *field.get("anyOf", ())):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            if name in self._listed:
                return name
        return None

    def _resolved(self, node: Node) -> Node:
        while "$ref" in node:
            _, *steps = node["$ref"].split("/")
            node = self._document
            for step in steps:
                node = node[step]
        return node


def _is_listed(schema: Node) -> bool:
    """Objects have a section of their own; plain values are described where they occur."""
    return (
        schema.get("type") == "object" and "properties" in schema
    ) or "x-enumDescriptions" in schema


def _sent_names(paths: Node) -> Iterator[str]:
    """Yield the schemas of request bodies: the operation itself describes their fields."""
    for item in paths.values():
        for method in _METHODS & item.keys():
            for content in item[method].get("requestBody", {}).get("content", {}).values():
                yield str(content["schema"].get("$ref", "")).rpartition("/")[2]


def _problems(operation: Node, *, are_shared: bool) -> Iterator[Problem]:
    for status, answer in operation["responses"].items():
        for content in answer.get("content", {}).values():
            for case in content.get("examples", {}).values():
                if case.get("x-shared", False) is not are_shared:
                    continue
                error = case["value"]["error"]
                yield Problem(
                    status=status,
                    when=case["summary"],
                    code=error.get("code") or "",  # Anthropic has neither
                    param=error.get("param") or "",
                    message=error["message"],
                )


def _bounds(schema: Node) -> Iterator[str]:
    if "const" in schema:
        yield f"`{_plain(schema['const'])}`"
    if "enum" in schema:
        yield ", ".join(f"`{_plain(word)}`" for word in schema["enum"])
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        yield f"{low:,} to {high:,}"
    elif low is not None:
        yield f"at least {low:,}"
    if "maxLength" in schema:
        yield f"at most {schema['maxLength']:,} characters"
    if "maxProperties" in schema:
        keys, values = schema["propertyNames"], schema["additionalProperties"]
        yield (
            f"at most {schema['maxProperties']} pairs, keys of {keys['maxLength']} and values of "
            f"{values['maxLength']} characters"
        )
    if "default" in schema:
        yield f"default `{_plain(schema['default'])}`"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _example(schema: Node) -> str:
    if "example" not in schema:
        return ""
    return json.dumps(schema["example"], indent=2, ensure_ascii=False)


def _limits(limits: Node) -> Iterator[tuple[str, str]]:
    for name, (label, unit) in _LIMITS.items():
        if name in limits:
            yield label, f"{limits[name]:,}{unit}"


def _slug(text: str) -> str:
    return _NO_SLUG.sub("-", text.lower()).strip("-")
