"""The tasks of models: the path of each at a worker, and the kinds of its bodies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Task = Literal[
    "chat",
    "completions",
    "infill",
    "embeddings",
    "rerank",
    "tokenize",
    "detokenize",
    "speech",
    "transcription",
    "images",
    "image_edits",
]
WRITING: Final[tuple[Task, ...]] = ("chat", "completions", "tokenize", "detokenize")
"""The tasks of a model that writes text and does nothing else."""
BodyKind = Literal["json", "multipart", "bytes"]
AnswerKind = Literal["json", "sse", "ndjson", "bytes"]

CONTINUOUS_USAGE: Final = "continuous_usage_stats"
"""vLLM's field of ``stream_options``: each chunk has the usage so far."""
TOKEN_STRINGS: Final = "return_token_strs"  # noqa: S105 (no password)
"""vLLM's field of ``/tokenize``: return the texts of the tokens too."""

COUNT: Final = "count"
"""vLLM's field in the answer of ``/tokenize``: the tokens of the whole prompt, with those of images and sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTraits:
    """The properties of a task that all engines share."""

    path: str
    """The path at workers, as in OpenAI's API or else in llama.cpp's."""
    body: BodyKind = "json"
    """Of its requests at the workers: :mod:`modelhost.exchange.payloads`."""
    answer: AnswerKind = "json"
    """``sse`` and ``ndjson``: as events, if the request enables streaming."""
    is_silent: bool = False
    """Whether a worker may be silent for long, so that silence is not a sign of a fault."""
    prompt_field: str | None = None
    """The field that can be too long for the model."""


TASKS: Final[Mapping[Task, TaskTraits]] = {
    "chat": TaskTraits(path="/v1/chat/completions", answer="sse", prompt_field="messages"),
    "completions": TaskTraits(path="/v1/completions", answer="sse", prompt_field="prompt"),
    "infill": TaskTraits(path="/infill", prompt_field="prompt"),
    "embeddings": TaskTraits(path="/v1/embeddings", is_silent=True),
    "rerank": TaskTraits(path="/v1/rerank", is_silent=True),
    "tokenize": TaskTraits(path="/tokenize"),
    "detokenize": TaskTraits(path="/detokenize"),
    "speech": TaskTraits(path="/v1/audio/speech", answer="bytes", is_silent=True),
    "transcription": TaskTraits(path="/v1/audio/transcriptions", body="bytes", answer="sse", is_silent=True),
    "images": TaskTraits(path="/v1/images/generations", answer="sse", is_silent=True),
    "image_edits": TaskTraits(path="/v1/images/edits", answer="sse", is_silent=True),
}
