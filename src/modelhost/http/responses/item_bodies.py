"""The items of a request's input, as bodies: what its messages, calls and results may hold.

Source: https://platform.openai.com/docs/api-reference/responses, and the types of the package ``openai`` 3.57.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from modelhost.chat.parsing.fields import NonEmpty
from modelhost.http.responses.items import kind_of
from modelhost.http.validation import Lenient

OTHER: Final = "another of OpenAI's"
"""The tag of items that this host has no use for."""

# Contents of messages.


class InputText(Lenient):
    """Text of others than the model."""

    type: Literal["input_text"]
    text: str


def _with_one_of(*names: str) -> ConfigDict:
    """Return the configuration of an object that has one of these fields, none of them ``null``."""
    return ConfigDict(json_schema_extra={"anyOf": [_with(name) for name in names]})


def _with(name: str) -> JsonValue:
    return {"required": [name], "properties": {name: {"type": "string"}}}


class InputImage(Lenient):
    """An image: a data URL, or an address."""

    model_config = _with_one_of("image_url", "file_id")
    type: Literal["input_image"]
    image_url: NonEmpty | None = None
    file_id: NonEmpty | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None

    @model_validator(mode="after")
    def _has_an_image(self) -> Self:
        if self.image_url is None and self.file_id is None:
            raise PydanticCustomError("image_missing", "the image is missing; give image_url")
        return self


class InputFile(Lenient):
    """A file; models get its text."""

    model_config = _with_one_of("file_data", "file_url", "file_id")
    type: Literal["input_file"]
    file_data: NonEmpty | None = None
    file_url: NonEmpty | None = None
    file_id: NonEmpty | None = None
    filename: str | None = None

    @model_validator(mode="after")
    def _has_a_file(self) -> Self:
        if self.file_data is None and self.file_url is None and self.file_id is None:
            raise PydanticCustomError("file_missing", "the file is missing; give file_data or file_url")
        return self


class OutputText(Lenient):
    """Text of an earlier answer."""

    type: Literal["output_text"]
    text: str


class RefusalPart(Lenient):
    """Text of an earlier answer in which the model refused."""

    type: Literal["refusal"]
    refusal: str


MessagePart = Annotated[
    InputText | InputImage | InputFile | OutputText | RefusalPart,
    Field(discriminator="type"),
]
ResultPart = Annotated[InputText | InputImage | InputFile, Field(discriminator="type")]


class ReasoningText(Lenient):
    """Reasoning, or a summary of it."""

    type: Literal["reasoning_text", "summary_text", "text"]
    text: str


# Items.


class _Item(Lenient):
    """What all items share."""

    id: str | None = None


class MessageItem(_Item):
    """One message."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[MessagePart]


class FunctionCall(_Item):
    """A call of a function in an earlier answer."""

    type: Literal["function_call"]
    call_id: NonEmpty
    name: NonEmpty
    arguments: str


class FunctionCallOutput(_Item):
    """The result of a call that the client made."""

    type: Literal["function_call_output"]
    call_id: NonEmpty
    output: str | list[ResultPart]


class CustomToolCall(_Item):
    """A call of a custom tool in an earlier answer."""

    type: Literal["custom_tool_call"]
    call_id: NonEmpty
    name: NonEmpty
    input: str


class CustomToolCallOutput(_Item):
    """The result of a call of a custom tool."""

    type: Literal["custom_tool_call_output"]
    call_id: NonEmpty
    output: str | list[ResultPart]


class Reasoning(_Item):
    """Reasoning of an earlier answer."""

    type: Literal["reasoning"]
    summary: list[ReasoningText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None


class McpListTools(_Item):
    """The tools of an MCP server, as an earlier answer lists them."""

    type: Literal["mcp_list_tools"]
    server_label: str


class McpCall(_Item):
    """A call that the host made in an earlier answer."""

    type: Literal["mcp_call"]
    server_label: str
    name: NonEmpty
    arguments: str
    output: str | None = None
    error: str | dict[str, Any] | None = None
    approval_request_id: str | None = None


class McpApprovalRequest(_Item):
    """A call that an earlier answer left to be approved."""

    type: Literal["mcp_approval_request"]
    id: NonEmpty
    server_label: str
    name: NonEmpty
    arguments: str


class McpApprovalResponse(_Item):
    """The decision about such a call."""

    type: Literal["mcp_approval_response"]
    approval_request_id: NonEmpty
    approve: bool
    reason: str | None = None


class Compaction(_Item):
    """An earlier part of the conversation, sealed by this host."""

    type: Literal["compaction", "compaction_summary"]
    encrypted_content: str


class ItemReference(Lenient):
    """An item that the host has stored."""

    type: Literal["item_reference"] | None = None
    id: NonEmpty


class OtherItem(_Item):
    """An item of OpenAI's own tools, without effect here."""

    type: NonEmpty


ITEMS: Final = (
    *("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
    *("reasoning", "mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response", "compaction"),
    *("item_reference",),
)


def _item_tag(value: Any) -> str:
    kind = kind_of(value) if isinstance(value, dict) else str(getattr(value, "type", None) or "message")
    kind = "compaction" if kind == "compaction_summary" else kind
    return kind if kind in ITEMS else OTHER


AnyItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[CustomToolCall, Tag("custom_tool_call")]
    | Annotated[CustomToolCallOutput, Tag("custom_tool_call_output")]
    | Annotated[Reasoning, Tag("reasoning")]
    | Annotated[McpListTools, Tag("mcp_list_tools")]
    | Annotated[McpCall, Tag("mcp_call")]
    | Annotated[McpApprovalRequest, Tag("mcp_approval_request")]
    | Annotated[McpApprovalResponse, Tag("mcp_approval_response")]
    | Annotated[Compaction, Tag("compaction")]
    | Annotated[ItemReference, Tag("item_reference")]
    | Annotated[OtherItem, Tag(OTHER)],
    Discriminator(_item_tag),
]


def _as_given(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Return ``value`` itself once it is checked: an item is kept as its JSON."""
    check(value)
    return value


GivenItem = Annotated[AnyItem, WrapValidator(_as_given)]
"""An item; the validated value is its JSON."""
