"""A host as its clients see it, in this process or over HTTP, and the media that it gives them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from modelhost.client.connections import Content
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces
from modelhost.operations.operation import OnProgress, Operation, P, Progress, R, ignore_progress

if TYPE_CHECKING:
    from modelhost.operations.perform import OperationCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    text: str
    language: str | None
    """A code; ``None``: there was nothing to hear, and the host does not say."""
    seconds: float
    """The length of the sound."""
    segments: tuple[Mapping[str, Any], ...]
    """Each with ``start`` and ``end`` in seconds, and ``text``."""


def progress_at(end: float, seconds: float) -> Progress:
    """Return the progress once a sound of ``seconds`` is transcribed up to ``end``."""
    return Progress(fraction=min(1.0, end / seconds) if seconds else 1.0, message="")


def form_of(file: bytes, fields: Mapping[str, str]) -> Content:
    """Return a form (``multipart/form-data``) with ``fields`` and the field ``file``."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="sound"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    data = "".join([*parts, head]).encode() + file + f"\r\n--{boundary}--\r\n".encode()
    return Content(content_type=f"multipart/form-data; boundary={boundary}", data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    data: bytes
    seed: int
    """Makes the same image again."""


OnPicture = Callable[[Picture], None]
"""Called with each image as soon as it is there."""


def ignore_picture(_picture: Picture) -> None:
    """Do nothing with it."""


def progress_of(index: int, step: int, steps: int, body: Mapping[str, Any]) -> Progress:
    """Return the progress of the images that ``body`` asks for, after ``step`` of the ``steps`` of one of them."""
    count = body.get("n") or 1
    named = f" of image {index + 1}" if count > 1 else ""
    return Progress(fraction=min(1.0, (index + step / max(1, steps)) / count), message=f"step {step}/{steps}{named}")


Body = Mapping[str, Any]
"""A chat request in OpenAI's format, without ``stream``."""


class HostClient(Protocol):
    """Runs operations and chats. All methods raise the :class:`ModelhostError` of the host, or HostUnreachable."""

    async def models(self) -> Sequence[str]:
        """Return the names of the models, the active one first."""

    async def run(self, operation: Operation[P, R], parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        """Run an operation; ``on_progress`` gets the progress of one that reports it."""

    def chat(self, body: Body, caller: Caller = NOBODY) -> AbstractAsyncContextManager[Pieces]:
        """Answer a chat piece by piece; leaving the context cancels the generation.

        Raises:
            ModelhostError: on entering, or out of the iterator in the middle of the answer.
        """

    async def complete(self, body: Body) -> Mapping[str, Any]:
        """Return the complete answer to a chat, as an object of OpenAI's API."""

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        """Return the request defaults of ``model`` (without a name, of the active one); raises ModelNotFound."""

    def performing(self, call: OperationCall) -> AbstractAsyncContextManager[None]:
        """Run what is inside as one ``call``: timed and, with a host in this process, authorised and recorded.

        Raises:
            ModelhostError: the caller is not authorised.
        """


class SoundClient(HostClient, Protocol):
    """Speaks, transcribes and makes images, too."""

    def speak(self, body: Body) -> AbstractAsyncContextManager[AsyncGenerator[bytes, None]]:
        """Speak a text and yield the audio as it is made; leaving the context ends the work.

        ``body`` is a request of ``/v1/audio/speech``, without ``stream_format``.

        Raises:
            ModelhostError: on entering, or out of the iterator in the middle of the audio.
        """

    async def transcribe(
        self, file: bytes, fields: Mapping[str, str], on_progress: OnProgress = ignore_progress
    ) -> Transcript:
        """Return the transcript of a sound file; cancelling ends the work.

        ``fields`` are those of the form of ``/v1/audio/transcriptions``, without formats. ``on_progress`` gets the
        part of the sound that is transcribed.
        """

    async def paint(
        self, body: Body, on_progress: OnProgress = ignore_progress, on_picture: OnPicture = ignore_picture
    ) -> Sequence[Picture]:
        """Return images; cancelling ends the work within a step.

        ``body`` is a request of ``/v1/images/generations``, or of ``/v1/images/edits`` if it has an ``image``, in
        base64; without ``stream``, ``progress`` and ``response_format``. ``on_progress`` gets each step,
        and ``on_picture`` each image before the work on the next one; what they raise ends the work.
        """
