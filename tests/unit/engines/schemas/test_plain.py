"""Schemas in plain words: what they look like, that they accept what the originals accept, and what is no schema."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from jsonschema.validators import Draft202012Validator
from referencing import Registry

from modelhost.engines.schemas.plain import DEPTH, LARGEST_COUNT, MOST_REPEATED, plain, plain_parameters
from modelhost.engines.schemas.references import UnusableSchema

A_TEXT: dict[str, Any] = {"type": "string"}


def of(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, **more}


def rewritten(schema: Any, **more: Any) -> Any:
    """What becomes of the property ``a``; ``None`` if it is gone."""
    return plain(of(schema, **more)).schema["properties"].get("a")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        of({"type": "string", "enum": ["a", "b"], "description": "d", "default": None}),
        of({"anyOf": [A_TEXT, {"type": "null"}]}),
        of({"oneOf": [A_TEXT, {"type": "integer"}]}),
        of({"$ref": "#/$defs/A"}, **{"$defs": {"A": of({"$ref": "#/$defs/A"})}}),
        of({"type": ["string", "null"], "maxLength": LARGEST_COUNT, "pattern": r"^\d{3}$"}),
        of({"type": "array", "items": A_TEXT, "minItems": 1}, required=["a"], additionalProperties=False),
        of({"type": "number", "minimum": 0.5, "exclusiveMaximum": 1}),
        of({"not": {"type": "string"}, "x-unknown": {"any": ["thing"]}}),
    ],
    ids=json.dumps,
)
def test_a_schema_in_plain_words_stays_as_it_is(schema: dict[str, Any]) -> None:
    assert json.dumps(plain(schema).schema) == json.dumps(schema)


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        (True, {}),
        (False, None),
        ({"enum": []}, None),
        ({"anyOf": [{"enum": ["x"]}, A_TEXT]}, {"anyOf": [{"enum": ["x"], "type": "string"}, A_TEXT]}),
        ({"anyOf": [{"const": 1}]}, {"anyOf": [{"const": 1, "type": "integer"}]}),
        ({"anyOf": [{"enum": [1, 1.5]}]}, {"anyOf": [{"enum": [1, 1.5], "type": "number"}]}),
        ({"anyOf": [{"type": ["string", "null"], "minLength": 1}]}, {"anyOf": [
            {"type": "string", "minLength": 1}, {"type": "null", "minLength": 1}]}),
        ({"anyOf": [{"enum": ["x", None]}, A_TEXT]}, {"anyOf": [A_TEXT, {"enum": ["x", None]}]}),
        ({"anyOf": [A_TEXT, True], "title": "t"}, {"title": "t"}),
        ({"anyOf": [A_TEXT, False]}, {"anyOf": [A_TEXT]}),
        ({"oneOf": [A_TEXT, {"const": 5}]}, {"anyOf": [A_TEXT, {"const": 5, "type": "integer"}]}),
        ({"allOf": [True, A_TEXT]}, {"allOf": [A_TEXT]}),
        ({"type": "array", "items": True}, {"type": "array"}),
        ({"prefixItems": [A_TEXT, True], "items": False}, {"prefixItems": [A_TEXT, {}], "maxItems": 2}),
        ({"type": "integer", "minimum": -(2**53), "maximum": 1e30}, {"type": "integer", "minimum": -(2**53)}),
        ({"type": "integer", "default": 2**64, "exclusiveMinimum": True}, {"type": "integer"}),
        ({"minLength": 5, "maxLength": 1}, {}),
        ({"minItems": 3.0}, {"minItems": 3}),
        ({"minItems": 5000, "maxItems": 10**12}, {"minItems": MOST_REPEATED}),
        ({"minLength": -1, "maximum": "5", "pattern": "^a[$", "required": None}, {}),
        ({"pattern": "^a{3000}$"}, {}),
        ({"not": {"$ref": "https://example.com/x"}, "unevaluatedProperties": False}, {}),
    ],
    ids=json.dumps,
)  # fmt: skip
def test_what_is_not_plain_is_said_in_plain_words(schema: Any, wanted: Any) -> None:
    assert json.dumps(rewritten(schema)) == json.dumps(wanted)


def test_an_optional_argument_of_the_python_sdk_names_the_type_of_its_reference() -> None:
    schema = {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}
    found = rewritten(schema, **{"$defs": {"A": of(A_TEXT)}})
    assert found == {"anyOf": [{"$ref": "#/$defs/A", "type": "object"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("reference", "more", "name"),
    [
        ("#", {}, "root"),
        ("#/properties/b", {}, "b"),
        ("#/$defs/a~1b%20c", {"$defs": {"a/b c": A_TEXT}}, "a_1b_20c"),
        ("#A", {"$defs": {"x": {"$anchor": "A", **A_TEXT}}}, "A"),
        ("#A", {"$defs": {"A": {}, "x": {"$anchor": "A", **A_TEXT}}}, "A_2"),
        ("https://example.com/tool#/properties/b", {"$id": "https://example.com/tool"}, "b"),
    ],
)
def test_references_within_a_schema_lead_into_its_definitions(reference: str, more: dict[str, Any], name: str) -> None:
    found = plain({"type": "object", "properties": {"a": {"$ref": reference}, "b": A_TEXT}, **more}).schema
    assert found["properties"]["a"] == {"$ref": f"#/$defs/{name}"}
    if name == "root":
        assert found["$defs"]["root"] == {"type": "object", "properties": {"a": found["properties"]["a"], "b": A_TEXT}}
    else:
        assert found["$defs"][name] == A_TEXT


def test_a_reference_to_another_document_is_reported_and_accepts_anything() -> None:
    found = plain(of({"$ref": "https://example.com/x.json", "description": "d"}))
    assert found.schema == of({"description": "d"})
    assert found.not_fetched == {"#/properties/a/$ref": "https://example.com/x.json"}


@pytest.mark.parametrize(
    ("schema", "location"),
    [
        ({"type": "object", "properties": None}, "#/properties"),
        (of(None), "#/properties/a"),
        (of({"type": []}), "#/properties/a/type"),
        (of({"type": "str"}), "#/properties/a/type"),
        (of({"type": ["string", 5]}), "#/properties/a/type"),
        (of({"anyOf": []}), "#/properties/a/anyOf"),
        (of({"anyOf": [A_TEXT, "x"]}), "#/properties/a/anyOf/1"),
        (of({"items": None}), "#/properties/a/items"),
        ({"properties": {"a/b~c": {"type": "str"}}}, "#/properties/a~1b~0c/type"),
        (of({"$ref": "#/$defs/A"}), "#/properties/a/$ref"),
        (of({"$ref": "#A"}), "#/properties/a/$ref"),
        (of({"$ref": 5}), "#/properties/a/$ref"),
        (of(A_TEXT, **{"$defs": {"A": {"$ref": "#/$defs/A"}}}), "#/$defs/A"),
        (of(A_TEXT, **{"$defs": {"A": {"anyOf": [{"$ref": "#/$defs/B"}]}, "B": {"allOf": [{"$ref": "#/$defs/A"}]}}}),
         "#/$defs/A"),
        ({"$ref": "#"}, "#/$defs/root"),
    ],
    ids=json.dumps,
)  # fmt: skip
def test_what_is_no_schema_is_refused_with_its_place(schema: dict[str, Any], location: str) -> None:
    with pytest.raises(UnusableSchema) as caught:
        plain(schema)
    assert caught.value.location == location


@pytest.mark.parametrize("depth", [DEPTH + 1, 5000])
def test_a_schema_that_is_nested_too_deep_is_refused(depth: int) -> None:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    with pytest.raises(UnusableSchema, match="nested more than 100 deep"):
        plain(schema)


@pytest.mark.parametrize(("kind", "is_usable"), [("object", True), (["object", "null"], True), ("string", False)])
def test_the_arguments_of_a_tool_are_an_object(kind: Any, *, is_usable: bool) -> None:
    if is_usable:
        assert plain_parameters({"type": kind}).schema == {"type": kind}
    else:
        with pytest.raises(UnusableSchema, match="#/type"):
            plain_parameters({"type": kind})


# What is random: schemas of the keywords that are rewritten, and values that many of them accept.

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 2.0, 1e31, 10**30, "", "x", "xx"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)  # fmt: skip
KINDS = st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null"])
REFERENCES = st.sampled_from(["#/$defs/A", "#/$defs/B~1c", "#anchor", "#/properties/a", "#"])
COUNTS = st.sampled_from([0, 1, 2, 2.0, 3000, 10**12])
BOUNDS = st.sampled_from([-1, 0, 1.5, 2**60, 1e30, 10**30])


def objects_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS | st.lists(KINDS, min_size=1, max_size=3, unique=True),
            "enum": st.lists(VALUES, max_size=3),
            "const": VALUES,
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "additionalProperties": inner,
            "unevaluatedProperties": inner,
            "required": st.lists(st.sampled_from("ab"), max_size=2, unique=True),
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "minItems": COUNTS,
            "maxItems": COUNTS,
            "minLength": COUNTS,
            "maxLength": COUNTS,
            "minimum": BOUNDS,
            "maximum": BOUNDS,
            "pattern": st.sampled_from(["^x*$", "^x{3000}$", "x"]),
        },
    )


LEAVES = st.booleans() | st.builds(lambda kind: {"type": kind}, KINDS)
# Behind a child, so that no reference leads back to itself.
INNER = st.recursive(
    LEAVES,
    lambda inner: (
        objects_of(inner)
        | st.builds(
            lambda reference: {"properties": {"a": {"$ref": reference}}, "items": {"$ref": reference}}, REFERENCES
        )
    ),
    max_leaves=6,
)
SCHEMAS = st.builds(
    lambda schema, a, b, c: {**schema, "properties": {"a": c}, "$defs": {"A": a, "B/c": b, "x": {"$anchor": "anchor"}}},
    objects_of(INNER), INNER, INNER, INNER,
)  # fmt: skip


def accepts(schema: Any, value: Any) -> bool:
    found: bool = Draft202012Validator(schema, registry=Registry()).is_valid(value)
    return found


# Where it would matter that a part accepts more: rare among random ones.
IMPOSSIBLE = {"minLength": 5, "maxLength": 1}


@example(schema={"oneOf": [{"type": "string", **IMPOSSIBLE}, A_TEXT]}, values=["x"])
@example(schema={"properties": {"a": IMPOSSIBLE}, "not": {"$ref": "#/properties/a"}}, values=["x"])
@example(schema={"anyOf": [True, {"properties": {"a": True}}], "unevaluatedProperties": False}, values=[{"a": 1}])
@given(schema=SCHEMAS, values=st.lists(VALUES, min_size=1, max_size=6))
def test_what_the_original_accepts_the_plain_one_accepts_too(schema: dict[str, Any], values: list[Any]) -> None:
    made = plain(schema).schema
    Draft202012Validator.check_schema(made)
    for value in values:
        assert accepts(made, value) or not accepts(schema, value), (made, value)


REFERS = {"properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/properties/a"}}, "$defs": {"A": A_TEXT}}


@example(schema={"enum": [], **REFERS})
@given(schema=SCHEMAS)
def test_a_plain_schema_is_plain(schema: dict[str, Any]) -> None:
    made = plain(schema).schema
    assert json.dumps(plain(made).schema) == json.dumps(made)
