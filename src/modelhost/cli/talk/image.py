"""``modelhost image``."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from modelhost.cli import console
from modelhost.cli.talk.options import SoundOptions, open_for_sound, with_options

EXAMPLES: Final = (
    "Examples:\n"
    '  modelhost image "a lighthouse at dusk"                     writes image.png\n'
    '  modelhost image "a lighthouse" -o a.webp --size 768x512 --steps 30 --seed 7\n'
    '  modelhost image "a lighthouse in snow" --image a.webp --strength 0.6\n'
    '  modelhost image "a lighthouse" --model ./stable-diffusion'
)
ImageFormat = Literal["png", "jpeg", "webp"]
FORMATS: Final[Mapping[str, ImageFormat]] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""The format of a file by its ending."""
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
        Path | None,
        typer.Option("--image", metavar="FILE", exists=True, dir_okay=False, help="An image to edit."),
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
        """Return a file for each image, and their format.

        Raises:
            typer.BadParameter: the ending of the file is that of no format.
        """
        path = Path(self.output)
        form = FORMATS.get(path.suffix.lower())
        if form is None:
            endings = ", ".join(FORMATS)
            raise typer.BadParameter(f"the ending of {path} is that of no format ({endings})", param_hint="--output")
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
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the image shows.")],
) -> None:
    """Make an image of a text, or of a text and an image, and write it to a file.

    A running host makes it if there is one; otherwise the command starts the model of `--model`, or the configured.
    """
    if not prompt.strip():
        raise typer.BadParameter("the prompt is empty", param_hint="PROMPT")
    paths, form = options.destinations()
    body = options.body(prompt, form)
    with open_for_sound(options) as (client, selected), console.shown_progress("painting") as show:
        pictures = client.paint({**body, **selected}, show)
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(picture.data)
        console.note(f"{path}: {len(picture.data):,} bytes, seed {picture.seed}")


def _encoded(path: Path | None) -> str | None:
    return None if path is None else base64.b64encode(path.read_bytes()).decode()


app = typer.Typer(add_completion=False)
app.command(epilog=EXAMPLES)(image)
