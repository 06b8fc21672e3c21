"""``--smallest``: the model that needs the least memory, of those that ``modelhost models scan`` found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelhost import lazy
from modelhost.cli import console
from modelhost.config.paths import expand_home
from modelhost.errors import ConfigError, ModelFileMissing

DEFAULT_INVENTORY = Path("MODEL_INVENTORY.json")
Smallest = Annotated[
    bool,
    typer.Option("--smallest", help="Use the smallest usable model in MODEL_INVENTORY.json.", rich_help_panel="Model"),
]
InventoryFile = Annotated[
    Path | None,
    typer.Option(
        "--inventory",
        metavar="FILE",
        help="The inventory for --smallest. Default: MODEL_INVENTORY.json.",
        show_default=False,
        rich_help_panel="Model",
    ),
]


def with_smallest(model: str | None, *, is_wanted: bool, inventory: Path | None) -> str | None:
    """Return the path of the smallest usable chat model if ``is_wanted``, else ``model``.

    Raises:
        ConfigError: a model is named as well, or there is no inventory, or none that can be read.
        ModelFileMissing: the inventory has no usable chat model, or the file is gone.
    """
    if not is_wanted:
        if inventory is not None:
            raise ConfigError("--inventory is for --smallest: give both, or neither")
        return model
    if model is not None:
        raise ConfigError(f"--smallest and {model} both name a model; give one of them")
    file = DEFAULT_INVENTORY if inventory is None else expand_home(inventory)
    entry = lazy.known_models.smallest_in(file)
    if not Path(entry.path).exists():
        raise ModelFileMissing(f"{entry.path} is in {file} and not there any more: modelhost models scan DIR")
    console.note(f"the smallest model is {entry.name}: {entry.path}")
    return entry.path
