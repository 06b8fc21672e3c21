"""What ``modelhost mcp`` logs, by its configuration: little, unless somebody asked for more or expects it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from modelhost.config import environment
from modelhost.config.checks import config_error, problems_of
from modelhost.config.directories import data_directory
from modelhost.config.settings import LogLevel, Settings
from modelhost.config.sources import Effective
from modelhost.config.vllm_environment import VllmEnvironment
from modelhost.errors import ConfigError
from modelhost.mcp_servers.stdio_log import LogPlan

OF_THE_LOG: Final = ("log_level", "log_format", "data_dir")


def plan_of_own_host(effective: Effective, vllm: VllmEnvironment) -> LogPlan:
    """Return the plan of a server that is a host of its own."""
    return _plan(effective.settings, vllm, is_chosen=effective.origins["log_level"].kind != "default")


def plan_beside_a_host(vllm: VllmEnvironment) -> LogPlan:
    """Return the plan of a server that is attached to a host, of whose settings only the environment's are its own.

    Raises:
        ConfigError: one of them is wrong.
    """
    given = [each for each in environment.read(environment.current()).given if each.setting.key in OF_THE_LOG]
    if problems := [problem for each in given for problem in problems_of(each)]:
        raise config_error(problems, what="the environment")
    values = {key: value for key, value in vllm.settings.items() if key == "log_level"}
    values |= {each.setting.key: each.value for each in given}
    return _plan(Settings.model_validate(values), vllm, is_chosen="log_level" in values)


def _plan(settings: Settings, vllm: VllmEnvironment, *, is_chosen: bool) -> LogPlan:
    expected: LogLevel = "info" if vllm.is_set else "warning"
    return LogPlan(
        level=settings.log_level if is_chosen else expected,
        is_level_chosen=is_chosen,
        log_format=settings.log_format,
        file=_file(settings),
    )


def _file(settings: Settings) -> Path:
    """Return where the log goes on; each process has a file of its own."""
    name = f"mcp-{os.getpid()}.log"
    try:
        return data_directory(settings) / "logs" / name
    except ConfigError:  # there is no home: the log is not what a server fails for
        return Path(name).absolute()
