"""The tokens of a conversation, counted by its model, or estimated where that is not loaded: no count loads a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from modelhost.exchange.caller import Caller
from modelhost.exchange.media_kinds import AUDIO, IMAGE
from modelhost.exchange.messages import MediaPart, Message
from modelhost.exchange.requests import ChatRequest, TokenizeRequest
from modelhost.exchange.tasks import COUNT

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.models.residency.hosted import HostedModel

ESTIMATED: Final = "estimated"
"""The note of a count that is an estimate, and the field of the answer."""
BYTES_PER_TOKEN: Final = 3.5
"""In UTF-8: of English about as many characters, of Chinese one."""
TOKENS_PER_MESSAGE: Final = 4
TOKENS_PER_IMAGE: Final = 1_000


class Count(NamedTuple):
    """The tokens of a prompt."""

    tokens: int
    is_estimated: bool


async def count_tokens(host: Host, chat: ChatRequest, caller: Caller) -> Count:
    """Return the tokens of the prompt of ``chat``, with the tools that the host adds.

    Images and sound are estimated unless the model takes them and its engine counts them. A loaded model that does not
    take them refuses them here, too.
    """
    model = host.find(chat.model)
    chat = host.answering.with_injected_tools(chat)
    images = sum(len(message.media) for message in chat.messages) * TOKENS_PER_IMAGE
    text = replace(chat, messages=tuple(map(_without_media, chat.messages)))
    if not host.collection.is_loaded(model):
        return Count(_estimate(text) + images, is_estimated=True)
    whole = chat if _refuses_media_of(model, chat) or _counts_media_of(model, chat) else text
    counted = await host.perform("tokenize", TokenizeRequest(model=chat.model, content="", chat=whole), caller)
    if COUNT in counted:
        return Count(counted[COUNT], is_estimated=False)
    if whole is chat:
        return Count(len(counted["tokens"]), is_estimated=False)
    return Count(len(counted["tokens"]) + images, is_estimated=images > 0)


def _counts_media_of(model: HostedModel, chat: ChatRequest) -> bool:
    return model.engine.counts_media and all(_taken(model, chat))


def _refuses_media_of(model: HostedModel, chat: ChatRequest) -> bool:
    """Whether the model takes none of the kinds of media in ``chat``: what tools returned is then described to it."""
    taken = _taken(model, chat)
    return bool(taken) and all(each is False for each in taken)


def _taken(model: HostedModel, chat: ChatRequest) -> list[bool | None]:
    takes = {IMAGE: model.sees_images, AUDIO: model.hears_audio}
    kinds = {part.kind for message in chat.messages for part in message.media}
    return [takes.get(kind) for kind in kinds]


def _without_media(message: Message) -> Message:
    if not message.media:
        return message
    assert isinstance(message.content, tuple)
    return replace(message, content=tuple(part for part in message.content if not isinstance(part, MediaPart)))


def _estimate(chat: ChatRequest) -> int:
    """Return about how many tokens a conversation has, from its length."""
    texts = [message.text for message in chat.messages]
    texts += [f"{call.name}{call.arguments}" for message in chat.messages for call in message.tool_calls or ()]
    texts += [f"{tool.name}{tool.description or ''}{dict(tool.parameters or {})}" for tool in chat.tools or ()]
    return round(sum(len(text.encode()) for text in texts) / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * len(chat.messages)
