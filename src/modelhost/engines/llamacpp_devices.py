"""Which devices the installed llama.cpp, or a ``llama-server``, can compute on; it is built for some."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from modelhost.config.environment import current
from modelhost.engines.llamacpp_program import NoServerError, lists_gpus, said_by
from modelhost.errors import ConfigError

SCRIPT = "import xllamacpp; print(*[device['type'].name for device in xllamacpp.get_device_info()])"
ALL_FEATURES = (
    "import xllamacpp; print(xllamacpp.get_system_info().replace('\\n', ' ')); "
    "print(*[device['name'] for device in xllamacpp.get_device_info()])"
)
SECONDS = 30.0
ON_CPU = ("CPU", "ACCEL")  # the ends of the names of ggml_backend_dev_type that are no GPU


@cache
def features_of(python: str) -> tuple[str, ...]:
    """Return what the llama.cpp of ``python`` computes with, in the words of a worker that is ready. 0.3 s, once."""
    asked = subprocess.run([python, "-c", ALL_FEATURES], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    from modelhost.engines.llamacpp_features import features_in  # noqa: PLC0415 (few ask for it, and starts wait)

    info, _, devices = asked.stdout.strip().partition("\n")
    return features_in(info, devices.split())


@cache
def library_uses_gpus(python: str) -> bool:
    """Return whether the llama.cpp of ``python`` finds a GPU. Asked once, in a process of its own: 0.3 s."""
    asked = subprocess.run([python, "-c", SCRIPT], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    return any(not name.endswith(ON_CPU) for name in asked.stdout.split())


def server_uses_gpus(path: str, env: Mapping[str, str]) -> bool:
    """Return whether the ``llama-server`` at ``path`` finds a GPU, with ``env`` besides the host's environment.

    Asked once for each state of the file: 0.1 to 1 s.

    Raises:
        ConfigError: it cannot be started.
    """
    return _server_uses_gpus(path, Path(path).stat().st_mtime_ns, tuple(sorted(env.items())))


@cache
def _server_uses_gpus(path: str, _: int, env: tuple[tuple[str, str], ...]) -> bool:
    try:
        return lists_gpus(said_by(path, "--list-devices", env={**current(), **dict(env)}))
    except NoServerError as error:
        raise ConfigError(f'engine option "server": {error}', param="engine_options") from error
