"""What a model can be given to do: where a worker takes each task, and the bodies that go to and fro."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from msgspec import Struct

from modelhost.exchange.nothing import NOTHING

Task = Literal["chat", "completions", "infill", "embeddings", "rerank", "tokenize", "detokenize"]
BodyKind = Literal["json", "multipart", "bytes"]
AnswerKind = Literal["json", "sse", "ndjson", "bytes"]

CONTINUOUS_USAGE: Final = "continuous_usage_stats"
"""vLLM's field of ``stream_options``: each chunk tells the usage so far."""
TOKEN_STRINGS: Final = "return_token_strs"  # noqa: S105 (no password)
"""vLLM's field of ``/tokenize``: the texts of the tokens beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTraits:
    """What is the same for every engine about a task."""

    path: str
    """Where workers that follow OpenAI, and llama.cpp beyond that, take it."""
    body: BodyKind = "json"
    """Of its requests, at the doors and at the workers: :mod:`modelhost.exchange.tasks`."""
    answer: AnswerKind = "json"
    """``sse`` and ``ndjson``: as events, where the request asks for a stream."""
    is_silent: bool = False
    """Whether a worker may be at work on it for long without a word, so that its silence says nothing of its health."""
    prompt_field: str | None = None
    """The field of a request that can be too long for the model."""


TASKS: Final[Mapping[Task, TaskTraits]] = {
    "chat": TaskTraits(path="/v1/chat/completions", answer="sse", prompt_field="messages"),
    "completions": TaskTraits(path="/v1/completions", answer="sse", prompt_field="prompt"),
    "infill": TaskTraits(path="/infill", prompt_field="prompt"),
    "embeddings": TaskTraits(path="/v1/embeddings", is_silent=True),
    "rerank": TaskTraits(path="/v1/rerank", is_silent=True),
    "tokenize": TaskTraits(path="/tokenize"),
    "detokenize": TaskTraits(path="/detokenize"),
}


class File(Struct, frozen=True, kw_only=True):
    """A file of a form."""

    name: str
    content_type: str
    data: bytes


class Form(Struct, frozen=True, kw_only=True):
    """The body of a request whose kind is ``multipart``."""

    fields: Mapping[str, str] = NOTHING
    files: Mapping[str, File] = NOTHING
    """By the names of their fields."""


class Raw(Struct, frozen=True, kw_only=True):
    """The body of a request whose kind is ``bytes``."""

    content_type: str
    data: bytes


Payload = Mapping[str, Any] | Form | Raw
