"""``modelhost speak``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from modelhost.cli import console
from modelhost.cli.talk.options import SoundOptions, open_for_sound, with_options

EXAMPLES: Final = (
    "Examples:\n"
    '  modelhost speak "Hello!"                           writes speech.mp3\n'
    '  modelhost speak "Hello!" -o hello.wav --voice heart --speed 1.2\n'
    "  modelhost speak - -o notes.opus < notes.txt\n"
    '  modelhost speak "Hello!" -o - --format wav | aplay'
)
AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
FORMATS: Final[Mapping[str, AudioFormat]] = {
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
        """Return where the audio goes, and its format.

        Raises:
            typer.BadParameter: the ending of the file is that of no format.
        """
        if self.output in (None, STANDARD) or self.audio_format is not None:
            audio_format = self.audio_format or "mp3"
            return self.output or f"speech.{audio_format}", audio_format
        found = FORMATS.get(Path(self.output).suffix.lower())
        if found is None:
            endings = ", ".join(FORMATS)
            raise typer.BadParameter(
                f"the ending of {self.output} is that of no format ({endings}): add --format", param_hint="--output"
            )
        return self.output, found


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
    body: dict[str, Any] = {"input": _text(text), "response_format": audio_format, "speed": options.speed}
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
        audio = b"".join(parts)  # a file is written only if all of it is there
    Path(output).write_bytes(audio)
    console.note(f"{output}: {len(audio):,} bytes")


def _text(given: str) -> str:
    """Return the text to speak.

    Raises:
        typer.BadParameter: there is none.
    """
    try:
        text = sys.stdin.read() if given == STANDARD else given
    except UnicodeDecodeError as error:
        raise typer.BadParameter("what is piped in is not text") from error
    if not text.strip():
        raise typer.BadParameter("the text is empty", param_hint="TEXT")
    return text.strip()


app = typer.Typer(add_completion=False)
app.command(epilog=EXAMPLES)(speak)
