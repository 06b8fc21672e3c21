"""The messages of a request of Anthropic's API as messages of this host, and their system prompt."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from modelhost import json_text
from modelhost.errors import InvalidRequest
from modelhost.exchange.chunks import REASONING
from modelhost.exchange.media_kinds import IMAGE
from modelhost.exchange.messages import LinkedText, MediaPart, Message, Part, Role, TextPart, ToolCall
from modelhost.exchange.nothing import NOTHING
from modelhost.http.anthropic import bodies
from modelhost.http.translation import PLAIN_TEXT, UNREADABLE, text_in_base64
from modelhost.http.validation import note_ignored

CHANGING: Final = re.compile(r"^x-anthropic-billing-header:.*(?:\n|\Z)", re.MULTILINE)
"""What Claude Code begins its system prompt with: a version, and ``cch=`` with a hash of the request. It is for
Anthropic's accounting and tells a model nothing, but would have the whole prompt computed anew in each turn."""


def without_changing_lines(texts: Sequence[str]) -> list[str]:
    """Return the blocks of a system prompt without such lines; those are at the beginning of a block."""
    return [CHANGING.sub("", text) for text in texts]


REMINDER: Final = "<system-reminder>\n{}\n</system-reminder>"
"""How Claude Code writes what the system has to say in the middle of a conversation into messages of the user."""
Verify = Callable[[str, str], bool]
"""Whether a signature belongs to a text of reasoning."""


def system_message(system: str | Sequence[bodies.TextBlock] | None, *, is_stable: bool) -> tuple[Message, ...]:
    """Return the system prompt as a message, if there is one; ``is_stable`` removes lines that always change."""
    texts = [system] if isinstance(system, str) else [block.text for block in system or ()]
    if is_stable:
        texts = without_changing_lines(texts)
    text = "\n".join(filter(None, texts))
    return (Message(role="system", content=text),) if text else ()


def messages_of(
    given: Sequence[bodies.Message], verify: Verify, *, before: Sequence[Message] = ()
) -> tuple[Message, ...]:
    """Return the messages of the conversation after those ``before``; consecutive ones of one role are one message.

    System messages at the beginning belong to the system prompt. Later ones become text of the user, since the chat
    templates of many models accept no system message there.

    Raises:
        InvalidRequest: a block cannot be used; ``param`` is its path.
    """
    made = list(before)
    for place, message in enumerate(given):
        at = f"messages[{place}].content"
        if message.role == "assistant":
            made += _assistant(message.content, at, verify)
            continue
        has_begun = bool(made) and made[-1].role != "system"
        for each in _user(message.content, at, is_system=message.role == "system"):
            made.append(_reminder(each) if has_begun and each.role == "system" else each)
    return tuple(_merged(made))


def _reminder(system: Message) -> Message:
    parts: list[Part] = [TextPart(REMINDER.format(system.text)), *system.media]
    return Message(role="user", content=_as_content(parts))


def _merged(messages: Iterable[Message]) -> Iterator[Message]:
    last: Message | None = None
    for message in messages:
        if last is None:
            last = message
        elif last.role == message.role in ("user", "system"):
            parts = [*_as_parts(last.content), *_as_parts(message.content)]
            last = Message(role=message.role, content=_as_content(parts))
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
            # Claude Code knows from the first words that it has to leave the thinking of earlier answers out.
            f"{param}: Invalid `signature` in `thinking` block: this host did not write it, or it was changed. Send it "
            "as it came, or leave it out.",
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
    has_results = any(isinstance(block, bodies.ToolResultBlock) for block in content)
    for place, block in enumerate(content):
        if isinstance(block, bodies.ToolResultBlock):
            yield _result(block.tool_use_id, block.content, f"{at}[{place}].content")
        else:
            parts += _parts(block, f"{at}[{place}]", of_tool=has_results)
    if parts or not has_results:
        yield Message(role=role, content=_as_content(parts))


def _result(call_id: str, content: str | Sequence[bodies.ResultPart] | None, at: str) -> Message:
    if content is None or isinstance(content, str):
        return Message(role="tool", tool_call_id=call_id, content=content or "")
    parts = [part for place, block in enumerate(content) for part in _parts(block, f"{at}[{place}]", of_tool=True)]
    return Message(role="tool", tool_call_id=call_id, content=_as_content(parts))


def _parts(block: bodies.Block | bodies.ResultPart, at: str, *, of_tool: bool = False) -> list[Part]:
    """Return the parts of a message for ``block``; ``of_tool``: a tool of the client returned it."""
    match block:
        case bodies.TextBlock():
            return [TextPart(block.text)]
        case bodies.ImageBlock():
            return [_image(block, at)]
        case bodies.DocumentBlock():
            return _document(block, at, of_tool=of_tool)
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
        return MediaPart(IMAGE, {IMAGE: {"url": f"data:{source.media_type};base64,{source.data}"}}, at)
    if isinstance(source, bodies.UrlSource):
        return MediaPart(IMAGE, {IMAGE: {"url": source.url}}, at)
    raise _no_files(f"{at}.source")


def _document(block: bodies.DocumentBlock, at: str, *, of_tool: bool) -> list[Part]:
    if of_tool and not _has_text(block.source):
        note_ignored(block.type)
        return [TextPart(UNREADABLE)]
    return [TextPart("\n".join(filter(None, (block.title, block.context)))), *_text_of(block.source, at)]


def _has_text(source: bodies.AnySource) -> bool:
    """Whether a document has text, or is a file, of which this host has none."""
    if isinstance(source, bodies.DataSource):
        return source.media_type.startswith(PLAIN_TEXT)
    return not isinstance(source, bodies.UrlSource)


def _text_of(source: bodies.AnySource, at: str) -> list[Part]:
    match source:
        case bodies.TextSource():
            return [TextPart(source.data)]
        case bodies.ContentSource():
            if isinstance(source.content, str):
                return [TextPart(source.content)]
            inner = f"{at}.source.content"
            return [part for place, each in enumerate(source.content) for part in _parts(each, f"{inner}[{place}]")]
        case bodies.DataSource() if source.media_type.startswith(PLAIN_TEXT):
            return [TextPart(text_in_base64(source.data, f"{at}.source.data"))]
        case bodies.UrlSource():
            return [LinkedText(source.url, at)]
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
