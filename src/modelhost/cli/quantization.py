"""``--isq`` and ``--quant``, as mistral.rs has them: a format for the weights, as an option of the engine."""

from __future__ import annotations

from collections.abc import Sequence

from modelhost.engines import TRAITS
from modelhost.engines.installed import quantizing_by
from modelhost.errors import ConfigError


def with_quantization(wanted: str, engine: str | None, options: Sequence[str] | None) -> list[str]:
    """The engine options ``options`` of the command line, ``KEY=VALUE``, with the one that means ``wanted``.

    Raises:
        ConfigError: ``engine`` has none, or it is among them already.
    """
    found = TRAITS[engine or quantizing_by("isq")].capabilities
    if found is None or found.quantizes_by is None:
        raise ConfigError(
            f"--isq {wanted}: {engine} takes weights as they are; leave the engine out, so that mistral.rs quantizes "
            "them while they are loaded, or name a file that is quantized already, such as org/name:Q4_K_M",
            param="engine",
        )
    given = list(options or ())
    if any(each.partition("=")[0].strip() == found.quantizes_by for each in given):
        raise ConfigError(f"--isq and --engine-option {found.quantizes_by} are two names of one; give one of them")
    return [*given, f"{found.quantizes_by}={wanted}"]
