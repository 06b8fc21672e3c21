"""The items of a conversation as messages of this host.

What the model wrote in one turn is one message, with the calls in it; the results of the calls that the host made come
behind it, as they did in the tool loop. So the prompt begins with the tokens that the engine has already computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from modelhost.errors import InvalidRequest
from modelhost.exchange.chunks import REASONING
from modelhost.exchange.media_kinds import IMAGE
from modelhost.exchange.messages import SYSTEM_ROLES, LinkedText, MediaPart, Message, Part, Role, TextPart, ToolCall
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import PendingCall
from modelhost.http.responses.compaction import items_of
from modelhost.http.responses.items import Item, parsed_host_call_id
from modelhost.http.translation import PLAIN_TEXT, UNREADABLE, text_in_base64
from modelhost.http.validation import note_ignored

DATA: Final = "data:"
TEXTS: Final = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
"""The field that has the text of a part, by its type."""


def content_of(given: str | Sequence[Item], at: str, *, of_tool: bool = False) -> str | tuple[Part, ...]:
    """Return ``given``, a checked content, as the content of a message; ``of_tool``: a tool of the client returned it.

    Raises:
        InvalidRequest: a part cannot be used; ``param`` is its path, which begins with ``at``.
    """
    if isinstance(given, str):
        return given
    return joined([part for place, each in enumerate(given) for part in _parts(each, f"{at}[{place}]", of_tool)])


def joined(parts: Sequence[Part]) -> str | tuple[Part, ...]:
    """Return ``parts`` as one text if they are texts, as llama.cpp joins them."""
    if any(not isinstance(part, TextPart) for part in parts):
        return tuple(part for part in parts if not isinstance(part, TextPart) or part.text)
    return "\n".join(part.text for part in parts if isinstance(part, TextPart) and part.text)


def written_text(given: str | Sequence[Item], at: str) -> str:
    """Return what the model wrote in a message, as one text.

    Raises:
        InvalidRequest: a part is no text; ``param`` is its path, which begins with ``at``.
    """
    if isinstance(given, str):
        return given
    for place, part in enumerate(given):
        if part["type"] not in TEXTS:
            param = f"{at}[{place}].type"
            raise InvalidRequest(
                f"{param}: a message of the model has text only; an {part['type']} belongs in one of the user.",
                param=param,
            )
    return "".join(part[TEXTS[part["type"]]] for part in given)


def _parts(given: Item, at: str, of_tool: bool) -> Iterator[Part]:
    kind = given["type"]
    if kind in TEXTS:
        yield TextPart(given[TEXTS[kind]])
    elif kind == "input_image":
        yield _image(given, at)
    elif kind == "input_file":
        yield from _file(given, at, of_tool)
    else:
        note_ignored(kind)


def _image(given: Item, at: str) -> Part:
    if given.get("file_id") is not None:
        raise _no_files(f"{at}.file_id")
    return MediaPart(IMAGE, {IMAGE: {"url": given["image_url"]}}, place=f"{at}.image_url")


def _file(given: Item, at: str, of_tool: bool) -> Iterator[Part]:
    if given.get("file_id") is not None:
        raise _no_files(f"{at}.file_id")
    if name := given.get("filename"):
        yield TextPart(name)
    if (url := given.get("file_url")) is not None:
        yield LinkedText(url, place=f"{at}.file_url")
        return
    head, _, data = given["file_data"].rpartition(",")
    media_type = head.removeprefix(DATA).partition(";")[0]
    if not head or media_type.startswith(PLAIN_TEXT):
        yield TextPart(text_in_base64(data, f"{at}.file_data"))
    elif of_tool:
        note_ignored(f"input_file of {media_type}")
        yield TextPart(UNREADABLE)
    else:
        raise InvalidRequest(
            f"{at}.file_data: models get the text of a file only, and this one is {media_type}: send its text.",
            param=f"{at}.file_data",
        )


def _no_files(param: str) -> InvalidRequest:
    return InvalidRequest(f"{param}: this host stores no files; send the contents themselves.", param=param)


Unseal = Callable[[str, str], str]
"""Opens what this host has sealed for a purpose, or raises InvalidEncryptedContent."""
REASONING_PURPOSE: Final = ""
"""The purpose for which reasoning is sealed, at all doors."""
NameOf = Callable[[str, str], str]
"""The name for the model of a server's tool."""

WITHOUT_MESSAGE: Final = frozenset({"mcp_list_tools", "mcp_approval_request", "mcp_approval_response"})
"""Items that are not part of the prompt, or that the loop turns into a part of it."""
APPROVALS: Final = frozenset({"mcp_approval_request", "mcp_approval_response"})
CANCELLED: Final = "The call was cancelled."


@dataclass(slots=True)
class _Written:
    """What the model wrote in a turn, as far as it is read."""

    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    turn: str | None = None
    """That of the host's calls; ``None`` if there are none."""
    results: list[Message] = field(default_factory=list)
    """Of the host's calls."""

    @property
    def is_empty(self) -> bool:
        return not (self.texts or self.reasoning or self.calls)

    def messages(self) -> Iterator[Message]:
        text, reasoning = "\n".join(self.texts), "".join(self.reasoning)
        yield Message(
            role="assistant",
            content=text if text or not self.calls else None,
            tool_calls=tuple(self.calls) or None,
            extra={REASONING: reasoning} if reasoning else NOTHING,
        )
        yield from self.results


class _Reader:
    """Reads the items of a conversation in their order."""

    def __init__(self, unseal: Unseal, name_of: NameOf) -> None:
        self._unseal = unseal
        self._name_of = name_of
        self._written = _Written()
        self._called: set[str | None] = set()
        """The ids of the client's calls."""
        self.messages: list[Message] = []

    def read(self, items: Sequence[Item], place_of: Callable[[int], str]) -> None:
        for place, item in enumerate(items):
            self._add(item, place_of(place))

    def end_turn(self) -> None:
        if not self._written.is_empty:
            self.messages += self._written.messages()
            self._written = _Written()

    def _add(self, item: Item, at: str) -> None:
        match item["type"]:
            case "message" if item["role"] == "assistant":
                self._open_turn(is_over=bool(self._written.calls)).texts.append(
                    written_text(item["content"], f"{at}.content")
                )
            case "message":
                self._say(item["role"], content_of(item["content"], f"{at}.content"))
            case "reasoning":
                written = self._open_turn(is_over=bool(self._written.calls or self._written.texts))
                written.reasoning.append(reasoning_text(item, self._unseal))
            case "function_call":
                self._call(ToolCall(id=item["call_id"], name=item["name"], arguments=item["arguments"] or "{}"))
            case "custom_tool_call":
                self._call(ToolCall(id=item["call_id"], name=item["name"], input=item["input"]))
            case "function_call_output" | "custom_tool_call_output":
                self._check_call(item["call_id"], f"{at}.call_id")
                content = content_of(item["output"], f"{at}.output", of_tool=True)
                self.end_turn()
                self.messages.append(Message(role="tool", tool_call_id=item["call_id"], content=content))
            case "mcp_call":
                self._add_host_call(item)
            case "compaction" | "compaction_summary":
                self.read(items_of(item, self._unseal), lambda _: at)
            case kind if kind not in WITHOUT_MESSAGE:
                note_ignored(kind)

    def _call(self, call: ToolCall) -> None:
        self._called.add(call.id)
        self._open_turn(is_over=self._written.turn is not None).calls.append(call)

    def _check_call(self, call_id: str, param: str) -> None:
        if call_id not in self._called:
            message = f"{param}: the conversation has no call {call_id}, of which this would be the output."
            raise InvalidRequest(message, param=param)

    def _open_turn(self, *, is_over: bool) -> _Written:
        """Return the turn that the model is in, a new one if the last one ``is_over``."""
        if is_over:
            self.end_turn()
        return self._written

    def _say(self, role: Role, content: str | tuple[Part, ...]) -> None:
        """Add a message of somebody else; consecutive ones of one role are one message.

        Messages of the system behind the first other one become text of the user, since the chat templates of many
        models accept no others there.
        """
        self.end_turn()
        last = self.messages[-1] if self.messages else None
        if role in SYSTEM_ROLES:
            role = "system" if last is None or last.role == "system" else "user"
        if last is not None and last.role == role:
            content = joined([*_as_parts(last.content), *_as_parts(content)])
            self.messages.pop()
        self.messages.append(Message(role=role, content=content))

    def _add_host_call(self, item: Item) -> None:
        turn, call_id = parsed_host_call_id(item.get("id") or "")
        known = self._written
        is_next = bool(known.calls) and (known.turn is None or not turn or known.turn != turn)
        written = self._open_turn(is_over=is_next)
        written.turn = turn
        name = self._name_of(item["server_label"], item["name"])
        written.calls.append(ToolCall(id=call_id, name=name, arguments=item["arguments"] or "{}"))
        written.results.append(Message(role="tool", tool_call_id=call_id, content=result_text(item)))


def messages_of(
    items: Sequence[Item], unseal: Unseal, name_of: NameOf, *, instructions: str | None = None, given_from: int = 0
) -> tuple[Message, ...]:
    """Return the messages of a conversation, with ``instructions`` as the first one.

    The items from the index ``given_from`` on are those of the request, for the paths in errors; the others are stored.

    Raises:
        InvalidRequest: an item cannot be used.
    """
    reader = _Reader(unseal, name_of)
    if instructions:
        reader.messages.append(Message(role="system", content=instructions))
    reader.read(items, lambda place: f"input[{place - given_from}]" if place >= given_from else "input")
    reader.end_turn()
    if all(message.role == "system" for message in reader.messages):
        # As clients do to have a prompt prepared; many chat templates need a message of the user.
        reader.messages.append(Message(role="user", content=""))
    return tuple(reader.messages)


def pending_calls(items: Sequence[Item], name_of: NameOf, *, given_from: int = 0) -> tuple[PendingCall, ...]:
    """Return the calls that an answer left to be approved, and that have been decided about but not been made.

    The items from the index ``given_from`` on are those of the request; the others are stored.

    Raises:
        InvalidRequest: the request decides about a call that waits for no decision.
    """
    if all(item["type"] not in APPROVALS for item in items):
        return ()
    requests: dict[str, Item] = {}
    decided: dict[str, PendingCall] = {}
    here: set[str] = set()
    """What the request decides about."""
    for place, item in enumerate(items):
        match item["type"]:
            case "mcp_approval_request":
                requests[item["id"]] = item
            case "mcp_approval_response" if (request := requests.get(item["approval_request_id"])) is not None:
                if request["id"] in here:
                    param = f"input[{place - given_from}].approval_request_id"
                    message = f"{param}: the request decides about {request['id']} already."
                    raise InvalidRequest(message, param=param)
                if place >= given_from:
                    here.add(request["id"])
                decided[request["id"]] = PendingCall(
                    id=_call_id(request["id"], decided.values()),
                    request_id=request["id"],
                    name=name_of(request["server_label"], request["name"]),
                    arguments=request["arguments"],
                    is_approved=item["approve"],
                    reason=item.get("reason"),
                )
            case "mcp_approval_response" if place >= given_from:
                param = f"input[{place - given_from}].approval_request_id"
                raise InvalidRequest(
                    f"{param}: no call waits for a decision about {item['approval_request_id']}. It was decided about "
                    "before, or its mcp_approval_request is not in the conversation.",
                    param=param,
                )
            case "mcp_call" if item.get("approval_request_id"):
                # A call is made once, however often it is approved.
                requests.pop(item["approval_request_id"], None)
                decided.pop(item["approval_request_id"], None)
    return tuple(decided[each] for each in requests if each in decided)


def _call_id(request_id: str, others: Iterable[PendingCall]) -> str:
    """Return the id of the call in the prompt; engines may number the calls of each turn anew."""
    call_id = parsed_host_call_id(request_id).call_id
    taken = {other.id for other in others if other.request_id != request_id}
    return f"{call_id}_{len(taken)}" if call_id in taken else call_id


def reasoning_text(item: Item, unseal: Unseal) -> str:
    """Return the reasoning of an item: what is sealed in it, its content, or its summary."""
    if sealed := item.get("encrypted_content"):
        return unseal(sealed, REASONING_PURPOSE)
    parts = item.get("content") or item.get("summary") or ()
    return "".join(part["text"] for part in parts)


def result_text(item: Item) -> str:
    """Return the result of a call that the host made, as the model got it."""
    if item.get("output") is not None:
        return str(item["output"])
    error = item.get("error")
    if isinstance(error, Mapping):
        content: Any = error.get("content")
        if isinstance(content, list):
            texts = (part.get("text") for part in content if isinstance(part, dict))
            return "\n".join(text for text in texts if isinstance(text, str))
        return str(error.get("message") or content or CANCELLED)
    return error or CANCELLED


def _as_parts(content: str | tuple[Part, ...] | None) -> tuple[Part, ...]:
    return content if isinstance(content, tuple) else (TextPart(content or ""),)
