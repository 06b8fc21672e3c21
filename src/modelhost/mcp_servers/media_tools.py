"""The tools ``speak``, ``transcribe`` and ``generate_image``, each listed where models of the host can do that."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import mcp_types as types
from pydantic import AliasChoices, Field

from modelhost.client.host_client import HostClient, SoundClient
from modelhost.engines import TRAITS
from modelhost.engines.installed import can_do
from modelhost.errors import InvalidAudio, InvalidRequest, ModelhostError, RequestTooLarge
from modelhost.exchange.audio_files import with_lengths
from modelhost.exchange.tasks import Task
from modelhost.mcp_servers import schemas
from modelhost.mcp_servers.host_tool import CallContext, HostTool, ToolOutcome
from modelhost.operations import llm
from modelhost.operations.cards import ModelCard
from modelhost.operations.models import LIST
from modelhost.operations.operation import NoParameters, Parameters, Result, audited, parsed

SPEAK_AUDITED: Final = ("model", "voice", "response_format")
TRANSCRIBE_AUDITED: Final = ("model", "language")
"""The arguments that the audit log keeps: no contents."""
DATA: Final = "data:"
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
        parameters = parsed(llm.SPEAK, llm.SpeakParameters, arguments)
        model = parameters.model or await first_model(backend, "speech")
        body = {**parameters.model_dump(exclude_none=True), **named(model)}
        made, parts = bytearray(), 0
        async with backend.speak(body) as spoken:
            async for part in spoken:
                made += part
                parts += 1
                if reader.tell is not None:
                    await reader.tell(parts, None)
        audio, media_type = with_lengths(bytes(made)), llm.MEDIA_TYPES[parameters.response_format]
        result = llm.SpokenResult(model=model, mime_type=media_type, size_bytes=len(audio))
        content = types.AudioContent(type="audio", data=base64.b64encode(audio).decode(), mime_type=media_type)
        return ToolOutcome(structured=result.model_dump(mode="json"), media=(content,))

    return HostTool(
        definition=definition_of(
            llm.SPEAK,
            "Speak a text; the result is audio.",
            parameters=llm.SpeakParameters,
            result=llm.SpokenResult,
        ),
        names=schemas.parameter_names(llm.SpeakParameters),
        kept=partial(audited, SPEAK_AUDITED),
        work=work,
        task="speech",
    )


def _transcribe(backend: SoundClient, *, reads_files: bool) -> HostTool:
    taken: type[llm.TranscribeFileParameters] | type[llm.TranscribeParameters] = (
        llm.TranscribeFileParameters if reads_files else llm.TranscribeParameters
    )

    async def work(arguments: Mapping[str, Any], reader: CallContext) -> ToolOutcome:
        parameters = parsed(llm.TRANSCRIBE, taken, arguments)
        data = await _sound_of(parameters)
        fields = parameters.model_dump(include={"language", "prompt"}, exclude_none=True)
        model = parameters.model or await first_model(backend, "transcription")
        made = await backend.transcribe(data, {**fields, **named(model)}, reader.on_progress)
        result = llm.TranscribeResult(
            text=made.text,
            model=model,
            language=made.language,
            duration=round(made.seconds, 3),
            segments=[llm.SpokenSegment(**{**each, "text": each["text"].strip()}) for each in made.segments],
        )
        return ToolOutcome(structured=result.model_dump(mode="json"), text=result.text)

    return HostTool(
        definition=definition_of(
            llm.TRANSCRIBE,
            "Transcribe speech: the text, and when each part of it is said.",
            parameters=taken,
            result=llm.TranscribeResult,
        ),
        names=schemas.parameter_names(taken),
        kept=partial(audited, TRANSCRIBE_AUDITED),
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


async def _sound_of(parameters: llm.TranscribeParameters | llm.TranscribeFileParameters) -> bytes:
    """Return the file; raises InvalidRequest and InvalidAudio."""
    path = parameters.path if isinstance(parameters, llm.TranscribeFileParameters) else None
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
    encoded = text.partition(",")[2] if text[: len(DATA)].lower() == DATA else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidAudio("file: it is not base64.", param="file") from None


GENERATE: Final = "generate_image"
"""The name of the tool; over HTTP it is OpenAI's endpoint."""
MOST_IMAGES: Final = 4
"""Of one call: all of them are in the context of the model that calls it."""
AUDITED_OF_IMAGES: Final = ("model", "size", "n", "steps", "guidance", "seed", "output_format")
"""The arguments that the audit log keeps: no prompts."""


class GenerateParameters(Parameters):
    """What to make."""

    prompt: str = Field(min_length=1, description="What the image shows.")
    negative_prompt: str | None = Field(default=None, description="What the image is not to show.")
    size: str | None = Field(
        default=None, min_length=1, description="The size as `WIDTHxHEIGHT`. Default: the model's own."
    )
    n: int | None = Field(default=None, ge=1, le=MOST_IMAGES, description="How many images. Default: 1.")
    steps: int | None = Field(default=None, ge=1, description="The number of steps. Default: the model's own.")
    guidance: float | None = Field(default=None, ge=0, description="How closely the image follows the prompt.")
    seed: int | None = Field(default=None, ge=0, description="The same seed gives the same image. Default: random.")
    output_format: Literal["png", "jpeg", "webp"] = Field(
        default="png",
        description="The format of the image. Default: png.",
        validation_alias=AliasChoices("output_format", "format"),
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        description="A model that makes images: its name or an alias. Default: the first that does.",
        validation_alias=AliasChoices("model", "model_id"),
    )


class MadeImage(Result):
    """An image; it is content of the result."""

    seed: int = Field(description="Makes the same image again.")
    size_bytes: int


class GenerateResult(Result):
    """What was made."""

    model: str
    mime_type: str
    images: list[MadeImage]


def image_tool(backend: SoundClient) -> HostTool:
    async def work(arguments: Mapping[str, Any], reader: CallContext) -> ToolOutcome:
        parameters = parsed(GENERATE, GenerateParameters, arguments)
        model = parameters.model or await first_model(backend, "images")
        body = {**parameters.model_dump(exclude_none=True), **named(model)}
        pictures = await backend.paint(body, reader.on_progress)
        media_type = f"image/{parameters.output_format}"
        made = [MadeImage(seed=each.seed, size_bytes=len(each.data)) for each in pictures]
        result = GenerateResult(model=model, mime_type=media_type, images=made)
        media = tuple(
            types.ImageContent(type="image", data=base64.b64encode(each.data).decode(), mime_type=media_type)
            for each in pictures
        )
        return ToolOutcome(structured=result.model_dump(mode="json"), media=media)

    return HostTool(
        definition=definition_of(
            GENERATE,
            "Make images of a text; the result is images.",
            parameters=GenerateParameters,
            result=GenerateResult,
        ),
        names=schemas.parameter_names(GenerateParameters),
        kept=partial(audited, AUDITED_OF_IMAGES),
        work=work,
        reports_progress=True,
        task="images",
    )
