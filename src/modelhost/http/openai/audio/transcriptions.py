"""``POST /v1/audio/transcriptions`` and ``POST /v1/audio/translations``, with their forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Scope

from modelhost.chat.notes import ON_NOTE
from modelhost.chat.parsing.transcription_form import TranscriptionForm, parsed_form
from modelhost.chat.transcription import Heard, Segment
from modelhost.errors import InvalidRequest
from modelhost.exchange.sse import encode_event
from modelhost.http.endpoint import Endpoint, caller_of, check_model
from modelhost.http.exchange import OPENAI, Exchange
from modelhost.http.openai.audio.paths import TRANSCRIPTIONS, TRANSLATIONS
from modelhost.http.openai.audio.rendering import (
    MEDIA_TYPES,
    rendered_text,
    text_of,
    usage_of,
    verbose_json,
    whole_json,
)
from modelhost.http.openai.multipart import FORM, is_form, read_parts

if TYPE_CHECKING:
    from modelhost.host import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class SentForm:
    """What a form holds."""

    fields: Mapping[str, Sequence[str]]
    file: bytes


async def read_form(exchange: Exchange, limit_bytes: int) -> SentForm:
    """Return the form in the body.

    Raises:
        InvalidRequest: it is no form, or has no field ``file``.
        RequestTooLarge: it is larger than ``limit_bytes``.
    """
    if not is_form(exchange):
        raise InvalidRequest(f"The body has to be a form ({FORM}) with the audio in the field file.", param="file")
    parts = await read_parts(exchange, limit_bytes, max_files=1)
    for name in parts.files:
        if name != "file":
            raise InvalidRequest(f"{name}: the audio belongs in the field file.", param="file")
    if "file" in parts.fields:
        raise InvalidRequest("file: it came as a text; send it as a file, with a plain filename=.", param="file")
    if "file" not in parts.files:
        raise InvalidRequest("file: the audio is missing.", param="file")
    return SentForm(fields=parts.fields, file=parts.files["file"][0])


END: Final = b'"type":"transcript.text.done"}\n\n'
TRANSCRIPT_EVENTS: Final = replace(OPENAI, end=END)


class TranscriptEndpoint(Endpoint):
    """Transcribes a file, or translates it to English."""

    is_for_active_model = False

    def __init__(self, host: Host, operation: str) -> None:
        super().__init__(host, operation, TRANSCRIPT_EVENTS)
        self._translates = operation == "translation"

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        sent = await read_form(exchange, self._limit_bytes)
        exchange.model = next(iter(sent.fields.get("model", ())), None)
        check_model(self.host, exchange.model)
        ON_NOTE.set(exchange.add_note)
        form = parsed_form(sent.fields)
        request = form.request(sent.file, is_translation=self._translates)
        async with (
            exchange.until_disconnected(),
            self.host.open_transcript(request, caller_of(scope), exchange.add_queue_position) as heard,
        ):
            exchange.model = heard.model
            if form.stream:
                async with exchange.event_stream():
                    await _write_events(exchange, heard)
            else:
                await self._answer(exchange, form, heard)

    async def _answer(self, exchange: Exchange, form: TranscriptionForm, heard: Heard) -> None:
        segments = [segment async for segment in heard.segments]
        if form.response_format in MEDIA_TYPES:
            body = rendered_text(form.response_format, segments).encode()
            length = str(len(body)).encode()
            headers = [(b"content-type", MEDIA_TYPES[form.response_format]), (b"content-length", length)]
            await exchange.answer(200, body, headers)
        elif form.response_format == "verbose_json":
            task = "translate" if self._translates else "transcribe"
            granularities = frozenset(form.timestamp_granularities)
            await exchange.answer_json(verbose_json(heard, segments, task=task, granularities=granularities))
        else:
            await exchange.answer_json(whole_json(heard, segments))


async def _write_events(exchange: Exchange, heard: Heard) -> None:
    segments: list[Segment] = []
    async for segment in heard.segments:
        segments.append(segment)
        delta = segment["text"] if len(segments) > 1 else segment["text"].lstrip()
        times = {"start": segment["start"], "end": segment["end"], "duration": round(heard.seconds, 3)}
        await exchange.write(encode_event({"type": "transcript.text.delta", "delta": delta, **times}))
    text, usage = text_of(segments), usage_of(heard)
    done = {"text": text, "usage": usage, "language": heard.language, "type": "transcript.text.done"}
    await exchange.write(encode_event(done))


def transcript_endpoints(host: Host) -> dict[tuple[str, str], ASGIApp]:
    """Return the endpoints, by method and path."""
    return {
        ("POST", TRANSCRIPTIONS): TranscriptEndpoint(host, "transcription"),
        ("POST", TRANSLATIONS): TranscriptEndpoint(host, "translation"),
    }
