"""``.env`` in the working directory as a source of settings: the environment wins over it, and it over the file.

Only variables that the host knows count. Others may stand there for other programs, or for ``${NAME}`` in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelhost.config.environment import OTHER_NAMES, read
from modelhost.config.fields import ENVIRONMENT_PREFIX
from modelhost.config.origins import Reading
from modelhost.config.variables import DOTENV, read_dotenv
from modelhost.config.vllm_environment import VARIABLES


@dataclass(frozen=True, slots=True, kw_only=True)
class DotenvFile:
    """What the file holds of ours; it is not there if nothing."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    why_ignored: str | None = None

    def reading(self) -> Reading:
        """The settings in it."""
        found = read(self.variables, kind=DOTENV)
        warnings = (self.why_ignored, *found.warnings) if self.why_ignored else found.warnings
        return Reading(given=found.given, problems=found.problems, warnings=warnings)

    def below(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """``environ`` with what only the file has. An empty variable counts as not set."""
        return {**self.variables, **{name: text for name, text in environ.items() if text.strip()}}


def read_settings_of(cwd: Path) -> DotenvFile:
    """Read ``.env`` in ``cwd``, if it is there. A folder of that name is somebody's virtual environment."""
    path = cwd / DOTENV
    if path.is_dir():
        return DotenvFile()
    found, why_ignored = read_dotenv(path)
    return DotenvFile(
        variables={name: text for name, text in found.items() if _is_ours(name) and text.strip()},
        why_ignored=why_ignored,
    )


def _is_ours(name: str) -> bool:
    return name.startswith(ENVIRONMENT_PREFIX) or name in OTHER_NAMES or name in VARIABLES
