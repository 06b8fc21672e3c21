"""Makes the pictures of ``docs/images.md``: ``python -m tools.pictures PYTHON``, the Python of the engine for images.

A host of its own serves a tiny Stable Diffusion with random weights, which paints noise: that is all that can be made
without downloading weights. The pictures are the same at every run with the locked versions.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from modelhost import Host
from modelhost.exchange.images import FinishedImage, PartialImage
from modelhost.exchange.requests import ImageRequest

MAKER: Final = Path("tests", "media", "make_pipelines.py")
KIND: Final = "stable-diffusion"
FOLDER: Final = Path("docs", "images")
WORDS: Final[Any] = {"prompt": "a lighthouse at dusk", "size": (128, 128), "steps": 8, "seed": 7}


async def main(python: str) -> None:
    """Write the pictures: unfinished ones, the whole one, an edited one."""
    with tempfile.TemporaryDirectory() as made:
        await asyncio.to_thread(subprocess.run, [python, "-W", "ignore", str(MAKER), made, KIND], check=True)
        async with Host(model=str(Path(made) / KIND), worker_python=python, data_dir=str(Path(made) / "data")) as host:
            whole = await painted(host, "whole", ImageRequest(**WORDS, partial_images=2))
            await painted(host, "edited", ImageRequest(**WORDS | {"seed": 9}, image=whole, strength=0.5))


async def painted(host: Host, name: str, request: ImageRequest) -> bytes:
    """Write the pictures of ``request``, and return the whole one."""
    whole = b""
    async with host.images(request) as made:
        async for event in made.events:
            if isinstance(event, PartialImage):
                write(f"partial-{event.index}", base64.b64decode(event.base64))
            elif isinstance(event, FinishedImage):
                whole = base64.b64decode(event.base64)
    write(name, whole)
    return whole


def write(name: str, data: bytes) -> None:
    """Write a picture."""
    (FOLDER / f"image-{name}.png").write_bytes(data)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
