"""``modelhost speak``, ``transcribe`` and ``image``, with a running host or a model of their own."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import typer

from modelhost.cli import console
from modelhost.cli.talk.options import SoundOptions, open_for_sound, with_options
from modelhost.client.host_client import Picture, Transcript
from modelhost.exchange.audio_files import with_lengths
from modelhost.http.openai.audio.rendering import rendered_text

SPEAK_EXAMPLES: Final = (
    "Examples:\n"
    '  modelhost speak "Hello!"                           writes speech.mp3\n'
    '  modelhost speak "Hello!" -o hello.wav --voice heart --speed 1.2\n'
    "  modelhost speak - -o notes.opus < notes.txt\n"
    '  modelhost speak "Hello!" -o - --format wav | aplay'
)
Format = TypeVar("Format")
AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
AUDIO_FORMATS: Final[Mapping[str, AudioFormat]] = {
    ".mp3": "mp3",
    ".opus": "opus",
    ".ogg": "opus",
    ".aac": "aac",
    ".flac": "flac",
    ".wav": "wav",
    ".pcm": "pcm",
}
"""The format of a file by its ending."""
STANDARD: Final = "-"
FIRST_VOICE: Final = "hibari"
"""What the command starts if no host is running."""
SLOWEST: Final = 0.25
FASTEST: Final = 4.0


def _format_of(output: str | Path, formats: Mapping[str, Format], advice: str = "") -> Format:
    """Return the format of a file by its ending; raises typer.BadParameter if it has none of them."""
    found = formats.get(Path(output).suffix.lower())
    if found is None:
        endings = ", ".join(formats)
        raise typer.BadParameter(
            f"the ending of {output} is that of no format ({endings}){advice}", param_hint="--output"
        )
    return found


def _check_can_be_written(path: Path) -> None:
    """Check it before the work, which would be lost; raises typer.BadParameter."""
    folder = path.parent
    if not folder.is_dir():
        problem = f"there is no directory {folder}"
    elif path.is_dir():
        problem = f"{path} is a directory"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        problem = f"{path} cannot be written"
    else:
        return
    raise typer.BadParameter(problem, param_hint="--output")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakOptions(SoundOptions):
    """How to speak, and where the audio goes. ``None`` means not given."""

    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write the audio; `-`: standard output. Default: `speech` with the ending of its format.",
        ),
    ] = None
    voice: Annotated[str | None, typer.Option("--voice", help="A voice of the model. Default: its first one.")] = None
    speed: Annotated[float, typer.Option("--speed", min=SLOWEST, max=FASTEST, help="1 is the voice's own speed.")] = 1.0
    audio_format: Annotated[
        AudioFormat | None, typer.Option("--format", help="Default: by the ending of FILE, else mp3.")
    ] = None

    def destination(self) -> tuple[str, AudioFormat]:
        """Return where the audio goes, and its format; raises as :func:`_format_of`."""
        if self.output in (None, STANDARD) or self.audio_format is not None:
            audio_format = self.audio_format or "mp3"
            return self.output or f"speech.{audio_format}", audio_format
        return self.output, _format_of(self.output, AUDIO_FORMATS, ": add --format")


@with_options(SpeakOptions)
def speak(
    options: SpeakOptions,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text; `-` reads it from standard input.")],
) -> None:
    """Speak a text, and write the audio to a file.

    A running host speaks if there is one; otherwise the command starts the voice `hibari`, or the model of `--model`.
    """
    output, audio_format = options.destination()
    if output == STANDARD and sys.stdout.isatty():
        raise typer.BadParameter("audio is not for a terminal: name a file, or pipe it on", param_hint="--output")
    if output != STANDARD:
        _check_can_be_written(Path(output))
    body: dict[str, Any] = {"input": _text(text, "text"), "response_format": audio_format, "speed": options.speed}
    if options.voice is not None:
        body["voice"] = options.voice
    with (
        open_for_sound(options, default=FIRST_VOICE) as (client, selected),
        closing(client.speak({**body, **selected})) as parts,
    ):
        if output == STANDARD:
            for part in parts:
                sys.stdout.buffer.write(part)
                console.flush()
            return
        audio = with_lengths(b"".join(parts))  # a file is written only if all of it is there
    Path(output).write_bytes(audio)
    console.note(f"{output}: {len(audio):,} bytes")


def _text(given: str, what: str) -> str:
    """Return a text that is ``given`` or, for ``-``, piped in; raises typer.BadParameter if there is none."""
    try:
        text = sys.stdin.buffer.read().decode() if given == STANDARD else given
    except UnicodeDecodeError as error:
        raise typer.BadParameter("what is piped in is not UTF-8") from error
    if not text.strip():
        raise typer.BadParameter(f"the {what} is empty", param_hint=what.upper())
    return text.strip()


speak_app = typer.Typer(add_completion=False)
speak_app.command(epilog=SPEAK_EXAMPLES)(speak)


TRANSCRIBE_EXAMPLES: Final = (
    "Examples:\n"
    "  modelhost transcribe talk.mp3\n"
    "  modelhost transcribe talk.mp3 --language en --format srt > talk.srt\n"
    "  modelhost transcribe talk.mp3 --format json\n"
    "  modelhost transcribe talk.mp3 --model ./faster-whisper-base"
)
OutputFormat = Literal["text", "srt", "vtt", "json"]


@with_options(SoundOptions)
def transcribe(
    options: SoundOptions,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A file with sound, such as MP3 or WAV.")
    ],
    language: Annotated[
        str | None, typer.Option(metavar="CODE", help="The language, such as `en`. Default: recognized.")
    ] = None,
    output_format: Annotated[
        OutputFormat, typer.Option("--format", help="Text, subtitles, or JSON with the times of the segments.")
    ] = "text",
) -> None:
    """Transcribe a sound file, and print its text.

    A running host transcribes if there is one; otherwise the command starts the model of `--model`, or the configured.
    """
    sound = file.read_bytes()
    fields = {} if language is None else {"language": language}
    with open_for_sound(options) as (client, selected), console.shown_progress("transcribing") as show:
        transcript = client.transcribe(sound, {**fields, **selected}, show)
    _print_transcript(transcript, output_format)


def _print_transcript(transcript: Transcript, output_format: OutputFormat) -> None:
    segments = [{**each, "text": each["text"].strip()} for each in transcript.segments]
    if output_format == "json":
        console.print_json(
            {
                "language": transcript.language,
                "duration": transcript.seconds,
                "text": transcript.text,
                "segments": segments,
            }
        )
    elif output_format == "text":
        typer.echo(transcript.text)
    else:
        typer.echo(rendered_text(output_format, segments), nl=False)


transcribe_app = typer.Typer(add_completion=False)
transcribe_app.command(epilog=TRANSCRIBE_EXAMPLES)(transcribe)


IMAGE_EXAMPLES: Final = (
    "Examples:\n"
    '  modelhost image "a lighthouse at dusk"                     writes image.png\n'
    '  modelhost image "a lighthouse" -o a.webp --size 768x512 --steps 30 --seed 7\n'
    '  modelhost image "a lighthouse in snow" --image a.webp --strength 0.6\n'
    '  modelhost image "a lighthouse" --model ./stable-diffusion'
)
ImageFormat = Literal["png", "jpeg", "webp"]
IMAGE_FORMATS: Final[Mapping[str, ImageFormat]] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
MOST: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions(SoundOptions):
    """What to make, and where it goes. ``None`` means not given."""

    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write the image, as PNG, JPEG or WebP by its ending. Of several images, each gets a number.",
        ),
    ] = "image.png"
    size: Annotated[str | None, typer.Option("--size", metavar="WxH", help="Default: the model's own.")] = None
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=MOST, help="How many images.")] = 1
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Default: the model's own.")] = None
    guidance: Annotated[
        float | None, typer.Option("--guidance", min=0, help="How closely the image follows the prompt.")
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="The same seed gives the same image.")] = None
    negative: Annotated[
        str | None, typer.Option("--negative", metavar="PROMPT", help="What the image is not to show.")
    ] = None
    image: Annotated[
        Path | None, typer.Option("--image", metavar="FILE", exists=True, dir_okay=False, help="An image to edit.")
    ] = None
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask", metavar="FILE", exists=True, dir_okay=False, help="What is transparent in it is painted anew."
        ),
    ] = None
    strength: Annotated[
        float | None,
        typer.Option("--strength", min=0, max=1, help="How much of the image to edit is painted anew. Default: 0.8."),
    ] = None

    def destinations(self) -> tuple[Sequence[Path], ImageFormat]:
        """Return a file for each image, and their format; raises as :func:`_format_of`."""
        path = Path(self.output)
        form = _format_of(path, IMAGE_FORMATS)
        if self.count == 1:
            return [path], form
        return [path.with_stem(f"{path.stem}-{number}") for number in range(1, self.count + 1)], form

    def body(self, prompt: str, form: ImageFormat) -> dict[str, Any]:
        """Return the request for ``prompt``; raises typer.BadParameter."""
        if self.image is None and (self.mask is not None or self.strength is not None):
            raise typer.BadParameter("--mask and --strength are for an --image")
        given = {
            "size": self.size,
            "steps": self.steps,
            "guidance": self.guidance,
            "seed": self.seed,
            "negative_prompt": self.negative,
            "strength": self.strength,
            "image": _encoded(self.image),
            "mask": _encoded(self.mask),
        }
        named = {name: value for name, value in given.items() if value is not None}
        return {"prompt": prompt, "n": self.count, "output_format": form, **named}


@with_options(ImageOptions)
def image(
    options: ImageOptions,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="What the image shows; `-` reads it from standard input.")
    ],
) -> None:
    """Make an image of a text, or of a text and an image, and write it to a file.

    A running host makes it if there is one; otherwise the command starts the model of `--model`, or the configured.
    """
    paths, form = options.destinations()
    for path in paths:
        _check_can_be_written(path)
    body = options.body(_text(prompt, "prompt"), form)
    written: list[str] = []

    def write(picture: Picture) -> None:  # each at once: what stops the work on the next one leaves it there
        path = paths[len(written)]
        path.write_bytes(picture.data)
        written.append(f"{path}: {len(picture.data):,} bytes, seed {picture.seed}")

    try:
        with open_for_sound(options) as (client, selected), console.shown_progress("painting") as show:
            client.paint({**body, **selected}, show, write)
    finally:
        for line in written:
            console.note(line)


def _encoded(path: Path | None) -> str | None:
    return None if path is None else base64.b64encode(path.read_bytes()).decode()


image_app = typer.Typer(add_completion=False)
image_app.command(epilog=IMAGE_EXAMPLES)(image)
