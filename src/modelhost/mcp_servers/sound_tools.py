"""The tools ``speak`` and ``transcribe``, which are listed where models of the host can do that."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import mcp_types as types

from modelhost.client.host_client import HostClient, SoundClient
from modelhost.engines import TRAITS
from modelhost.engines.installed import can_do
from modelhost.errors import InvalidAudio, InvalidRequest, ModelhostError, RequestTooLarge
from modelhost.exchange.tasks import Task
from modelhost.mcp_servers import schemas
from modelhost.mcp_servers.host_tool import CallContext, HostTool, ToolOutcome
from modelhost.operations import sound
from modelhost.operations.cards import ModelCard
from modelhost.operations.models import LIST
from modelhost.operations.operation import NoParameters, Parameters, Result, parsed

SPEAK_AUDITED: Final = ("model", "voice", "response_format")
TRANSCRIBE_AUDITED: Final = ("model", "language")
"""The arguments that the audit log keeps: no contents."""
MOST_FILE_BYTES: Final = 500_000_000
"""Of a file that is read by its path: four hours of WAV at 16 kHz."""


async def tasks_of(backend: HostClient, tasks: Iterable[Task]) -> frozenset[Task] | None:
    """Return those of ``tasks`` that models can do; ``None`` if the host cannot be asked: calls get the reason."""
    with suppress(ModelhostError):
        listed = await backend.run(LIST, NoParameters())
        return frozenset(task for task in tasks if any(_can(card, task) for card in listed.models))
    return None


def _can(card: ModelCard, task: Task) -> bool:
    """Whether a model can do ``task``; before it is loaded, its files or its engine say so."""
    return _is_made_for(card, task) or (task == "transcription" and card.hears_audio is True)


def _is_made_for(card: ModelCard, task: Task) -> bool:
    """Whether it does ``task`` itself: chat models that hear transcribe by conversing."""
    return task in card.operations or (card.engine in TRAITS and can_do(card.engine, task))


def sound_tools(backend: SoundClient, *, reads_files: bool) -> list[HostTool]:
    """Return both tools; if ``reads_files``, paths of this machine can be transcribed."""
    return [_speak(backend), _transcribe(backend, reads_files=reads_files)]


def _speak(backend: SoundClient) -> HostTool:
    async def work(arguments: Mapping[str, Any], reader: CallContext) -> ToolOutcome:
        parameters = parsed(sound.SPEAK, sound.SpeakParameters, arguments)
        model = parameters.model or await first_model(backend, "speech")
        body = {**parameters.model_dump(exclude_none=True), **named(model)}
        audio, parts = bytearray(), 0
        async with backend.speak(body) as spoken:
            async for part in spoken:
                audio += part
                parts += 1
                if reader.tell is not None:
                    await reader.tell(parts, None)
        media_type = sound.MEDIA_TYPES[parameters.response_format]
        result = sound.SpokenResult(model=model, mime_type=media_type, size_bytes=len(audio))
        content = types.AudioContent(type="audio", data=base64.b64encode(audio).decode(), mime_type=media_type)
        return ToolOutcome(structured=result.model_dump(mode="json"), media=(content,))

    return HostTool(
        definition=definition_of(
            sound.SPEAK,
            "Speak a text; the result is audio.",
            parameters=sound.SpeakParameters,
            result=sound.SpokenResult,
        ),
        names=schemas.parameter_names(sound.SpeakParameters),
        kept=lambda arguments: {name: arguments[name] for name in SPEAK_AUDITED if name in arguments},
        work=work,
        task="speech",
    )


def _transcribe(backend: SoundClient, *, reads_files: bool) -> HostTool:
    taken: type[sound.TranscribeFileParameters] | type[sound.TranscribeParameters] = (
        sound.TranscribeFileParameters if reads_files else sound.TranscribeParameters
    )

    async def work(arguments: Mapping[str, Any], reader: CallContext) -> ToolOutcome:
        parameters = parsed(sound.TRANSCRIBE, taken, arguments)
        data = await _sound_of(parameters)
        fields = parameters.model_dump(include={"language", "prompt"}, exclude_none=True)
        model = parameters.model or await first_model(backend, "transcription")
        made = await backend.transcribe(data, {**fields, **named(model)}, reader.on_progress)
        result = sound.TranscribeResult(
            text=made.text,
            model=model,
            language=made.language,
            duration=round(made.seconds, 3),
            segments=[sound.SpokenSegment(**{**each, "text": each["text"].strip()}) for each in made.segments],
        )
        return ToolOutcome(structured=result.model_dump(mode="json"), text=result.text)

    return HostTool(
        definition=definition_of(
            sound.TRANSCRIBE,
            "Transcribe speech: the text, and when each part of it is said.",
            parameters=taken,
            result=sound.TranscribeResult,
        ),
        names=schemas.parameter_names(taken),
        kept=lambda arguments: {name: arguments[name] for name in TRANSCRIBE_AUDITED if name in arguments},
        work=work,
        reports_progress=True,
        task="transcription",
    )


def definition_of(name: str, description: str, *, parameters: type[Parameters], result: type[Result]) -> types.Tool:
    """Return what clients see of a tool that makes something and changes nothing."""
    return types.Tool(
        name=name,
        title=name.replace("_", " ").capitalize(),
        description=description,
        input_schema=schemas.input_schema(parameters),
        output_schema=schemas.with_failure(schemas.output_schema(result)),
        annotations=types.ToolAnnotations(
            title=name.replace("_", " ").capitalize(),
            read_only_hint=True,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    )


async def first_model(backend: HostClient, task: Task) -> str:
    """Return the model of a call that names none; empty if there is none, of which the host has more to say."""
    cards = (await backend.run(LIST, NoParameters())).models
    able = [card for card in cards if _is_made_for(card, task)] or [card for card in cards if _can(card, task)]
    return able[0].id if able else ""


def named(model: str) -> dict[str, str]:
    """Return the field that selects ``model``, if there is one."""
    return {"model": model} if model else {}


async def _sound_of(parameters: sound.TranscribeParameters | sound.TranscribeFileParameters) -> bytes:
    """Return the file; raises InvalidRequest and InvalidAudio."""
    path = parameters.path if isinstance(parameters, sound.TranscribeFileParameters) else None
    if (path is None) == (parameters.file is None):
        raise InvalidRequest("Give either path or file.", param="path")
    return await asyncio.to_thread(_read, Path(path)) if path is not None else _decoded(parameters.file or "")


def _read(path: Path) -> bytes:
    path = path.expanduser()
    try:
        if not path.is_file():
            raise InvalidRequest(f"path: there is no file {path}.", param="path")
        if path.stat().st_size > MOST_FILE_BYTES:
            raise RequestTooLarge(f"path: {path} is larger than {MOST_FILE_BYTES:,} bytes.", param="path")
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"path: {path} cannot be read: {error.strerror}.", param="path") from None


def _decoded(text: str) -> bytes:
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidAudio("file: it is not base64.", param="file") from None
