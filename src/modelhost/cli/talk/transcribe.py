"""``modelhost transcribe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from modelhost.cli import console
from modelhost.cli.talk.options import SoundOptions, open_for_sound, with_options
from modelhost.client.media import Transcript
from modelhost.http.openai.audio.rendering import rendered_text

EXAMPLES: Final = (
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
    _print(transcript, output_format)


def _print(transcript: Transcript, output_format: OutputFormat) -> None:
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


app = typer.Typer(add_completion=False)
app.command(epilog=EXAMPLES)(transcribe)
