"""The messages of a request of Anthropic's API as messages of this host, and their system prompt."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from modelhost import json_text
from modelhost.chat.images import IMAGE
from modelhost.errors import InvalidRequest
from modelhost.exchange.chunks import REASONING
from modelhost.exchange.messages import MediaPart, Message, Part, Role, TextPart, ToolCall
from modelhost.exchange.nothing import NOTHING
from modelhost.http.anthropic import bodies
from modelhost.http.anthropic.changing_lines import without_changing_lines
from modelhost.http.validation import note_ignored

PLAIN_TEXT: Final = "text/"
Verify = Callable[[str, str], bool]
"""Whether a signature belongs to a text of reasoning."""


def system_message(system: str | Sequence[bodies.TextBlock] | None, *, is_stable: bool) -> tuple[Message, ...]:
    """Return the system prompt as a message, if there is one; ``is_stable`` removes lines that always change."""
    texts = [system] if isinstance(system, str) else [block.text for block in system or ()]
    if is_stable:
        texts = without_changing_lines(texts)
    text = "\n".join(filter(None, texts))
    return (Message(role="system", content=text),) if text else ()


def messages_of(given: Sequence[bodies.Message], verify: Verify) -> tuple[Message, ...]:
    """Return the messages of the conversation; consecutive ones of one role are one message.

    Raises:
        InvalidRequest: a block cannot be used; ``param`` is its path.
    """
    made: list[Message] = []
    for place, message in enumerate(given):
        at = f"messages[{place}].content"
        if message.role == "assistant":
            made += _assistant(message.content, at, verify)
        else:
            made += _user(message.content, at, is_system=message.role == "system")
    return tuple(_merged(made))


def _merged(messages: Iterable[Message]) -> Iterator[Message]:
    last: Message | None = None
    for message in messages:
        if last is None:
            last = message
        elif last.role == message.role == "user":
            last = Message(role="user", content=_as_content([*_as_parts(last.content), *_as_parts(message.content)]))
        elif last.role == message.role == "assistant" and not last.tool_calls:
            last = _joined(last, message)
        else:
            yield last
            last = message
    if last is not None:
        yield last


def _joined(one: Message, other: Message) -> Message:
    reasoning = "".join(filter(None, (one.extra.get(REASONING), other.extra.get(REASONING))))
    return Message(
        role="assistant",
        content="\n".join(filter(None, (one.text, other.text))) or None,
        tool_calls=other.tool_calls,
        extra={REASONING: reasoning} if reasoning else NOTHING,
    )


# The model's messages.


@dataclass(slots=True)
class _Answer:
    """A message of the model as far as it is read."""

    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.texts or self.reasoning or self.calls)

    @property
    def message(self) -> Message:
        text = "\n".join(self.texts)
        reasoning = "".join(self.reasoning)
        return Message(
            role="assistant",
            content=text if text or not self.calls else None,
            tool_calls=tuple(self.calls) or None,
            extra={REASONING: reasoning} if reasoning else NOTHING,
        )


def _assistant(content: str | Sequence[bodies.Block], at: str, verify: Verify) -> Iterator[Message]:
    """Yield an answer of the model; one in which the host made calls consists of several messages."""
    if isinstance(content, str):
        yield Message(role="assistant", content=content)
        return
    answer = _Answer()
    for place, block in enumerate(content):
        match block:
            case bodies.TextBlock():
                answer.texts.append(block.text)
            case bodies.ThinkingBlock():
                _check_signature(block, f"{at}[{place}].signature", verify)
                answer.reasoning.append(block.thinking)
            case bodies.ToolUseBlock() | bodies.HostToolUseBlock():
                arguments = json_text.encode(block.input).decode()
                answer.calls.append(ToolCall(id=block.id, name=block.name, arguments=arguments))
            case bodies.HostToolResultBlock():
                if not answer.is_empty:
                    yield answer.message
                    answer = _Answer()
                yield _result(block.tool_use_id, block.content, f"{at}[{place}]")
            case bodies.IgnoredBlock() | bodies.ReferenceBlock():
                note_ignored(block.type)
            case _:
                raise InvalidRequest(
                    f"{at}[{place}].type: a message of the assistant cannot have a block of type {block.type}.",
                    param=f"{at}[{place}].type",
                )
    if not answer.is_empty:
        yield answer.message


def _check_signature(block: bodies.ThinkingBlock, param: str, verify: Verify) -> None:
    if not verify(block.thinking, block.signature):
        raise InvalidRequest(
            f"{param}: this host did not write this thinking block, or it was changed. Send it as it came, or leave "
            "it out.",
            param=param,
        )


# The messages of others.


def _user(content: str | Sequence[bodies.Block], at: str, *, is_system: bool) -> Iterator[Message]:
    """Yield the results of calls in a message, and then the rest of it."""
    role: Role = "system" if is_system else "user"
    if isinstance(content, str):
        yield Message(role=role, content=content)
        return
    parts: list[Part] = []
    has_results = False
    for place, block in enumerate(content):
        if isinstance(block, bodies.ToolResultBlock):
            has_results = True
            yield _result(block.tool_use_id, block.content, f"{at}[{place}].content")
        else:
            parts += _parts(block, f"{at}[{place}]")
    if parts or not has_results:
        yield Message(role=role, content=_as_content(parts))


def _result(call_id: str, content: str | Sequence[bodies.ResultPart] | None, at: str) -> Message:
    if content is None or isinstance(content, str):
        return Message(role="tool", tool_call_id=call_id, content=content or "")
    parts = [part for place, block in enumerate(content) for part in _parts(block, f"{at}[{place}]")]
    return Message(role="tool", tool_call_id=call_id, content=_as_content(parts))


def _parts(block: bodies.Block | bodies.ResultPart, at: str) -> list[Part]:
    match block:
        case bodies.TextBlock():
            return [TextPart(block.text)]
        case bodies.ImageBlock():
            return [_image(block, at)]
        case bodies.DocumentBlock():
            return [TextPart("\n".join(filter(None, (block.title, block.context)))), *_document(block, at)]
        case bodies.SearchResultBlock():
            return [TextPart("\n".join([block.title, block.source, *(each.text for each in block.content)]))]
        case bodies.ReferenceBlock():
            return [TextPart(block.tool_name)]
        case bodies.IgnoredBlock():
            note_ignored(block.type)
            return []
    raise InvalidRequest(
        f"{at}.type: a message of the user cannot have a block of type {block.type}.", param=f"{at}.type"
    )


def _image(block: bodies.ImageBlock, at: str) -> MediaPart:
    source = block.source
    if isinstance(source, bodies.DataSource):
        return MediaPart(IMAGE, {"image_url": {"url": f"data:{source.media_type};base64,{source.data}"}})
    if isinstance(source, bodies.UrlSource):
        return MediaPart(IMAGE, {"image_url": {"url": source.url}})
    raise _no_files(f"{at}.source")


def _document(block: bodies.DocumentBlock, at: str) -> list[Part]:
    source = block.source
    match source:
        case bodies.TextSource():
            return [TextPart(source.data)]
        case bodies.ContentSource():
            if isinstance(source.content, str):
                return [TextPart(source.content)]
            inner = f"{at}.source.content"
            return [part for place, each in enumerate(source.content) for part in _parts(each, f"{inner}[{place}]")]
        case bodies.DataSource() if source.media_type.startswith(PLAIN_TEXT):
            try:
                return [TextPart(base64.b64decode(source.data, validate=True).decode())]
            except (binascii.Error, UnicodeDecodeError):
                message = f"{at}.source.data: it is not text in UTF-8, in base64."
                raise InvalidRequest(message, param=f"{at}.source.data") from None
        case bodies.FileSource():
            raise _no_files(f"{at}.source")
    raise InvalidRequest(
        f"{at}.source: models get the text of a document only: send it as a source of type text or content.",
        param=f"{at}.source",
    )


def _no_files(param: str) -> InvalidRequest:
    return InvalidRequest(f"{param}: this host stores no files; send the contents themselves.", param=param)


def _as_parts(content: str | tuple[Part, ...] | None) -> tuple[Part, ...]:
    return content if isinstance(content, tuple) else (TextPart(content or ""),)


def _as_content(parts: Sequence[Part]) -> str | tuple[Part, ...]:
    """Return ``parts`` as one text if they are texts, as llama.cpp joins them."""
    texts = [part.text for part in parts if isinstance(part, TextPart) and part.text]
    if any(not isinstance(part, TextPart) for part in parts):
        return tuple(part for part in parts if not isinstance(part, TextPart) or part.text)
    return "\n".join(texts)
