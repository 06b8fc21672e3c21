"""Tags the wheel for the platform it was built on: it holds programs, and no extension of a Python."""

from __future__ import annotations

import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PlatformTag(BuildHookInterface[Any]):
    """Replaces the tag ``py3-none-any``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del version
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"py3-none-{platform}")
