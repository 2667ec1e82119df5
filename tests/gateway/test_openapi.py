"""The document is valid, whole and true: routes, shapes and bounds are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

from batchline import __version__
from batchline.settings import Settings
from gateway import openapi
from gateway.app import _routes
from gateway.openapi import Document


@pytest.fixture(scope="module")
def document():
    return Document(Settings()).tree


def each_operation(document):
    for path, item in document["paths"].items():
        for method in item.keys() - {"parameters"}:
            yield method.upper(), path, item[method]


def nodes(node):
    """Every object within the document."""
    if isinstance(node, dict):
        yield node
    for inner in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from nodes(inner)


def test_nothing_is_written_twice():
    """YAML lets the last of two equal keys win without a word."""

    def mappings(node):
        if isinstance(node, yaml.MappingNode):
            yield [key.value for key, _ in node.value]
            for _, value in node.value:
                yield from mappings(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                yield from mappings(value)

    for path in Path(openapi.__file__).parent.rglob("*.yaml"):
        for keys in mappings(yaml.compose(path.read_text())):
            assert len(keys) == len(set(keys)), (path.name, keys)


@pytest.mark.parametrize("api_key", [None, "secret"])
def test_the_document_is_valid_openapi(api_key):
    """A validator of the specification finds nothing, references and schemas included."""
    document = Document(Settings(api_key=api_key)).tree

    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.mark.spec("beyond-openapi")
def test_every_route_is_documented_and_every_operation_is_a_route(document):
    """A route regex such as `{model_id:.+}` is `{model_id}` in the document."""
    routes = {(route.method, re.sub(r":[^}]+", "", route.path)) for route in _routes()}
    operations = {(method, path) for method, path, _ in each_operation(document)}

    assert operations == routes


def test_the_server_gets_all_its_routes_from_the_table(gateway):
    """What the test above compares is what is mounted."""
    mounted = {r.resource.canonical for r in gateway.app.router.routes()}

    assert mounted == {re.sub(r":[^}]+", "", route.path) for route in _routes()}


def test_every_part_is_used(document):
    """Nothing dead is carried along; `InputLine` and `ResultLine` are for readers."""
    components = document["components"]
    used = {node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)}
    defined = {
        f"#/components/{kind}/{name}"
        for kind, entries in components.items()
        for name in entries
        if kind != "securitySchemes"
    }

    assert defined - used <= {f"#/components/schemas/{n}" for n in ("InputLine", "ResultLine")}


def test_every_field_and_parameter_has_a_sentence(document):
    """A field added to a shape needs its sentence in schemas.yaml."""
    schemas = document["components"]["schemas"]

    def is_mute(node):
        target = schemas.get(node.get("$ref", "").split("/")[-1], {})
        return not (node.get("description") or target.get("description"))

    mute = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, node in schema.get("properties", {}).items()
        if is_mute(node)
    ]
    mute += [
        n["name"] for n in nodes(document["paths"]) if {"in", "name"} <= n.keys() and is_mute(n)
    ]

    assert mute == []


def test_every_example_fits_its_schema(document):
    """Objects, bodies and each error."""

    def check(schema, example):
        jsonschema.Draft202012Validator(schema | {"components": document["components"]}).validate(
            example
        )

    for name, schema in document["components"]["schemas"].items():
        if "example" in schema:
            check({"$ref": f"#/components/schemas/{name}"}, schema["example"])
    for node in nodes(document["paths"]):
        for case in node.get("examples", {}).values():
            check(node["schema"], case["value"])


def test_every_operation_shows_how_to_call_it(document):
    """Curl for all; the openai client (or plain Python) for those below /v1, and it compiles."""
    for _, path, operation in each_operation(document):
        samples = {sample["lang"]: sample["source"] for sample in operation["x-codeSamples"]}

        assert samples["curl"].startswith("curl ")
        assert ("python" in samples) == path.startswith("/v1/")
        ast.parse(samples.get("python", ""))


@pytest.mark.spec("beyond-openapi")
async def test_the_document_says_where_a_key_is_needed(starts):
    """It is needed for the document itself, too."""
    gateway = await starts(api_key="secret")

    answer = await gateway.call("GET", "/openapi.json", headers={"x-api-key": "secret"})

    assert answer.status == 200
    assert answer.json["info"]["version"] == __version__
    assert answer.json["paths"]["/v1/files"]["get"]["security"] == [{"key": []}]
    assert answer.json["paths"]["/metrics"]["get"]["security"] == [{"key": []}, {"password": []}]
    assert answer.json["paths"]["/health"]["get"]["security"] == []


async def test_without_a_key_none_is_demanded(gateway):
    """Any key or none will do, and the document says so."""
    answer = await gateway.call("GET", "/openapi.json")

    assert answer.json["paths"]["/v1/files"]["get"]["security"] == [{"key": []}, {}]


async def test_the_document_is_sent_once_to_who_keeps_it(gateway):
    """304 for the same ETag; the whole for another."""
    first = await gateway.call("GET", "/openapi.json")
    tag = first.headers["ETag"]

    same = await gateway.call("GET", "/openapi.json", headers={"If-None-Match": f'"x", {tag}'})
    other = await gateway.call("GET", "/openapi.json", headers={"If-None-Match": '"x"'})

    assert (same.status, same.body, same.headers["ETag"]) == (304, b"", tag)
    assert (other.status, other.body) == (200, first.body)


async def test_the_limits_are_those_of_this_server(starts):
    """A server set up with other limits tells them."""
    gateway = await starts(max_file_bytes=1000, max_lines=7)

    answer = await gateway.call("GET", "/openapi.json")

    assert answer.json["info"]["x-limits"]["max_file_bytes"] == 1000
    assert answer.json["info"]["x-limits"]["max_lines"] == 7
