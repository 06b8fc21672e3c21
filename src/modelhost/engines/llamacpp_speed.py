"""How quickly llama.cpp computes: the options for that, and what its threads do while they wait for one another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.base import ModelSpec
from modelhost.errors import ConfigError

FALLBACK_CONTEXT: Final = 4096
LARGEST_BATCH: Final = 2048
MICRO_BATCH: Final = 512
"""llama.cpp's own; larger ones gain little and take memory."""
SPEED_OPTIONS: Final[Mapping[str, Any]] = {
    "batch_size": 0,  # tokens of a prompt worked on at once; 0: the context, up to 2048
    "micro_batch_size": 0,  # tokens computed in one step, which sizes the buffers; 0: up to 512
    "flash_attention": "auto",  # on, off, or auto: where the device computes it
    "threads_batch": 0,  # threads for prompts; 0: as many as for answers
    "speculation": "none",  # guess ahead by what the text repeats: ngram-simple, ngram-mod, ngram-map-k
}
SPINS: Final = "3000"
"""Looks at whether the others are done, before a thread of OpenMP's sleeps until they are.

On an idle machine the others are mostly done within so many, and a thread that sleeps at once would be woken hundreds
of times for a token. OpenMP's own 300,000 are no quicker there, but hold a core while another program has taken that of
the thread that is waited for. Figures: docs/performance.md.
"""
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "flash_attention": ("auto", "on", "off"),
    "speculation": ("none", "ngram-simple", "ngram-mod", "ngram-map-k"),
}


def check_speed(options: Mapping[str, Any]) -> None:
    """Check the values of ``options`` that :data:`CHOICES` and :data:`SPEED_OPTIONS` are about.

    Raises:
        ConfigError: one is none of those that there are.
    """
    for name, choices in CHOICES.items():
        if options[name] not in choices:
            raise ConfigError(
                f'engine option "{name}" of llamacpp takes {", ".join(choices)}, not "{options[name]}"',
                param="engine_options",
            )
    for name in ("batch_size", "micro_batch_size", "threads_batch"):
        if options[name] < 0:
            raise ConfigError(f'engine option "{name}" of llamacpp: {options[name]} is below 0', param="engine_options")


def batch_size_of(spec: ModelSpec, options: Mapping[str, Any]) -> int:
    """Return how many tokens of a prompt are worked on at once."""
    wanted: int = options["batch_size"]
    # A multiple of the slots: llama.cpp shares a batch out among them, and aborts while it loads if that leaves a rest.
    slots = spec.slots or 1
    return math.ceil((wanted or min(spec.context_length or FALLBACK_CONTEXT, LARGEST_BATCH)) / slots) * slots


def micro_batch_size_of(spec: ModelSpec, options: Mapping[str, Any], *, embeds: bool) -> int:
    """Return how many tokens are evaluated in one step; the buffers of the computation are as large as that takes.

    ``embeds``: whether it makes embeddings, for which a text has to be evaluated in one step.
    """
    batch, wanted = batch_size_of(spec, options), options["micro_batch_size"]
    return batch if embeds else min(batch, wanted or MICRO_BATCH)
