"""The tools, the calls and the choices among tools that a chat request may hold, as OpenAI defines them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag


class OpenObject(BaseModel):
    """An object whose unknown fields are passed on."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)


class ClosedObject(BaseModel):
    """An object whose unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


def kind_of(given: Any) -> str | None:
    """Return the tag of the branch that ``given``, which is of one of several types, is to be held against."""
    if isinstance(given, str):
        return "ToolMode"
    kind = given.get("type", "function") if isinstance(given, dict) else getattr(given, "type", None)
    return TAGS.get(kind) if isinstance(kind, str) else None


TAGS: Final[Mapping[str, str]] = {
    "function": "OfFunction",
    "custom": "OfCustom",
    "allowed_tools": "AllowedTools",
    "text": "OfText",
    "grammar": "OfGrammar",
}
"""What the branches are called, by the type of what belongs to each; no field is called so."""
_BY_KIND = Discriminator(
    kind_of, custom_error_type="type", custom_error_message="Input should be an object of type 'function' or 'custom'"
)
_BY_CHOICE = Discriminator(
    kind_of,
    custom_error_type="type",
    custom_error_message="Input should be 'none', 'auto', 'required' or an object of type 'function', 'custom' or "
    "'allowed_tools'",
)
_BY_FORMAT = Discriminator(
    kind_of, custom_error_type="type", custom_error_message="Input should be an object of type 'text' or 'grammar'"
)


class FunctionCall(OpenObject):
    """The name and the arguments (JSON text, or the object itself) of a call in the conversation so far."""

    name: str
    arguments: str | dict[str, Any] = "{}"


class ToolCall(OpenObject):
    """A call in an assistant message."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCall


class CustomInput(OpenObject):
    """The name and the input of a call of a custom tool in the conversation so far."""

    name: str
    input: str


class CustomToolCall(OpenObject):
    """A call of a custom tool in an assistant message."""

    id: str | None = None
    type: Literal["custom"]
    custom: CustomInput


OneCall = Annotated[Annotated[ToolCall, Tag("OfFunction")] | Annotated[CustomToolCall, Tag("OfCustom")], _BY_KIND]


class Function(OpenObject):
    """What a tool is called, what it is for, and the JSON schema of its arguments."""

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(OpenObject):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class TextFormat(ClosedObject):
    """The input may be any text."""

    type: Literal["text"]


class Grammar(ClosedObject):
    """A grammar, and in which syntax it is written."""

    syntax: Literal["lark", "regex"]
    definition: str = Field(min_length=1)


class GrammarFormat(ClosedObject):
    """The input has to follow a grammar."""

    type: Literal["grammar"]
    grammar: Grammar


OneFormat = Annotated[Annotated[TextFormat, Tag("OfText")] | Annotated[GrammarFormat, Tag("OfGrammar")], _BY_FORMAT]


class Custom(OpenObject):
    """What a custom tool is called, what it is for, and what its input has to be."""

    name: str = Field(min_length=1)
    description: str | None = None
    format: OneFormat | None = None


class CustomTool(OpenObject):
    """A tool that the model may call with a text."""

    type: Literal["custom"]
    custom: Custom


OneTool = Annotated[Tool | CustomTool, Field(discriminator="type")]  # quicker than a function: there may be many


class NamedFunction(OpenObject):
    """The name in a named tool choice."""

    name: str


class NamedTool(OpenObject):
    """``tool_choice`` for exactly one tool."""

    type: Literal["function"]
    function: NamedFunction


class NamedCustomTool(OpenObject):
    """``tool_choice`` for exactly one custom tool."""

    type: Literal["custom"]
    custom: NamedFunction


OneNamed = Annotated[Annotated[NamedTool, Tag("OfFunction")] | Annotated[NamedCustomTool, Tag("OfCustom")], _BY_KIND]


class Allowed(OpenObject):
    """The tools among which the model may choose, and whether it has to."""

    mode: Literal["auto", "required"]
    tools: list[OneNamed] = Field(min_length=1)


class AllowedTools(OpenObject):
    """``tool_choice`` for some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: Allowed


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("ToolMode")]
    | Annotated[NamedTool, Tag("OfFunction")]
    | Annotated[NamedCustomTool, Tag("OfCustom")]
    | Annotated[AllowedTools, Tag("AllowedTools")],
    _BY_CHOICE,
]
