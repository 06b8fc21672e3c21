"""vLLM's names for what an answer has to be: ``structured_outputs``, and the older ``guided_json`` and the like.

Source: https://docs.vllm.ai/en/latest/features/structured_outputs.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from modelhost import json_text
from modelhost.errors import InvalidRequest, RequestError
from modelhost.exchange.requests import OutputFormat

STRUCTURED: Final = "structured_outputs"
GUIDED: Final = "guided_"
KINDS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "json": (lambda value: isinstance(value, dict), "a JSON schema"),
    "json_object": (lambda value: value is True, "true"),
    "regex": (lambda value: isinstance(value, str) and bool(value), "a regular expression"),
    "choice": (
        lambda value: isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value),
        "a list of texts",
    ),
    "grammar": (lambda value: isinstance(value, str) and bool(value), "a grammar"),
}
OF_ENGINES: Final = frozenset({STRUCTURED, "grammar", "response_format"})
"""What engines call the field that says so."""
OF_LLAMACPP: Final = ("grammar", "json_schema")
FIELDS: Final = frozenset({STRUCTURED, *(f"{GUIDED}{kind}" for kind in KINDS)})


def constraint_in(extra: dict[str, Any]) -> tuple[str, Any, str] | None:
    """Take the fields of a request that say what its answer has to be out of ``extra``.

    Returns:
        The kind, the value, and the name of the field that they stand in.

    Raises:
        InvalidRequest: there are several, or one is not what it has to be.
    """
    if FIELDS.isdisjoint(extra):
        return None
    named = {name: (name, kind, extra.pop(name)) for kind in KINDS if (name := f"{GUIDED}{kind}") in extra}
    given = list(named.values())
    asked = extra.pop(STRUCTURED, {})
    if not isinstance(asked, Mapping):
        raise InvalidRequest(f"{STRUCTURED}: it has to be an object.", param=STRUCTURED)
    given += [(f"{STRUCTURED}.{kind}", kind, value) for kind, value in asked.items() if value is not None]
    for name, kind, _ in given:
        if kind not in KINDS:
            raise InvalidRequest(f"{name}: there are {', '.join(KINDS)}.", param=name)
    if len(given) != 1:
        names = " and ".join(name for name, _, _ in given) or STRUCTURED
        raise InvalidRequest(
            f"{names}: give exactly one of {', '.join(KINDS)}.", param=given[-1][0] if given else STRUCTURED
        )
    name, kind, value = given[0]
    if kind == "json" and isinstance(value, str):
        try:
            value = json_text.decoded(value)
        except ValueError as error:
            raise InvalidRequest(f"{name}: it is not JSON: {error}.", param=name) from None
    is_right, words = KINDS[kind]
    if not is_right(value):
        raise InvalidRequest(f"{name}: it has to be {words}.", param=name)
    return kind, value, name


def check_only_one(output: Any, extra: Mapping[str, Any], field: str) -> None:
    """Check that only one field says what the answer has to be.

    Args:
        output: ``response_format``.
        extra: the request's other fields that OpenAI's API does not have.
        field: that which stands in ``extra`` as ``structured_outputs``.

    Raises:
        InvalidRequest: two do.
    """
    given = [name for name in OF_LLAMACPP if extra.get(name)]
    if STRUCTURED in extra:
        given.append(field)
    if isinstance(output, Mapping) and output.get("type") not in (None, "text"):
        given.append("response_format")
    if len(given) > 1:
        raise InvalidRequest(
            f"{given[0]}: {given[1]} says already what the answer has to be; give one.", param=given[0]
        )


def wants_json(extra: Mapping[str, Any]) -> bool:
    """Whether the fields of a request that OpenAI's API does not have say that its answer has to be JSON."""
    structured = extra.get(STRUCTURED) or {}
    return "json_schema" in extra or not {"json", "json_object"}.isdisjoint(structured)


def output_of(kind: str, value: Any) -> OutputFormat | None:
    """Return what OpenAI's API has a name for as such."""
    if kind == "json":
        return OutputFormat(kind="json_schema", schema=value, extra={"name": "answer", "strict": True})
    return OutputFormat(kind="json_object") if kind == "json_object" else None


def name_as_sent(error: RequestError, field: str) -> None:
    """Have ``error``, if it is about what the answer has to be, name the ``field`` in which the client said so."""
    if field and error.param is not None and error.param.partition(".")[0] in OF_ENGINES:
        error.message = error.message.replace(error.param, field, 1)
        error.param = field
