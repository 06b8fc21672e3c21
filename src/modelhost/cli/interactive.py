"""``modelhost serve -i``: talking with the model that would be served, line by line, and serving nobody."""

from __future__ import annotations

from typing import Final

from modelhost.cli import console
from modelhost.cli.chat import converse
from modelhost.cli.connect import first_model
from modelhost.cli.own import own_model_of
from modelhost.config.sources import Effective

LISTENING: Final = ("host", "port", "mcp_port")


def talk(effective: Effective) -> None:
    """Start the model, talk until the person ends it, and stop the model."""
    idle = [effective.origins[key].name for key in LISTENING if effective.origins[key].kind == "flag"]
    if idle:
        console.warning(f"{', '.join(idle)}: no effect with -i, since nothing listens")
    with own_model_of(effective) as own:
        converse(own, {"model": first_model(own)}, system=effective.settings.system_prompt)
