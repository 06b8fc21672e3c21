"""A model with the configuration of a load request: checked as a whole before anything is unloaded or loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from modelhost.engines.load_config import NO_CHANGE, LoadBaseline, LoadConfig, LoadOverrides
from modelhost.errors import ConfigError, InvalidRequest, RequestError, UnsupportedParameter
from modelhost.models.files.memory_pools import RAM, Bytes
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.resolve.resolved import Resolved
from modelhost.models.resolve.runtime import Headroom

LENGTH = "max_model_len"
SHARE = "gpu_memory_utilization"
MB = 1_000_000


class FindModel(Protocol):
    """Finds the files of an entry; reports progress from 0 to 1. ``headroom`` is the memory that it will find."""

    async def __call__(
        self, entry: ModelEntry, on_progress: Callable[[float], None], *, headroom: Headroom | None = None
    ) -> Resolved: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredModel:
    """A model as its entry has it, and as a configuration has it."""

    plain: Resolved
    resolved: Resolved
    overlay: LoadOverrides = NO_CHANGE


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationContext:
    """What is known when a configuration is checked."""

    budget: Bytes
    plain: Resolved | None = None
    """The model without a configuration, if that has been found already."""
    headroom: Headroom = field(default_factory=Headroom)


async def find_configured(
    find: FindModel,
    entry: ModelEntry,
    config: LoadConfig,
    context: ConfigurationContext,
    on_progress: Callable[[float], None],
) -> ConfiguredModel:
    """Return the model of ``entry`` as ``config`` has it.

    Raises:
        InvalidRequest, UnsupportedParameter: the model or its engine cannot be so; every field that is wrong is named.
        SetupError: as :func:`modelhost.models.resolve.finding.find`.
    """
    plain = context.plain or await find(entry, on_progress, headroom=context.headroom)
    if config == LoadConfig():
        return ConfiguredModel(plain=plain, resolved=plain)
    configured = plain.engine.configure_load(config, _premises(plain))
    problems, longest = dict(configured.problems), _longest(plain, configured.overlay)
    if longest is not None:
        problems[LENGTH] = f"{entry.name} was made for {longest:,} tokens at most; ask for so many or fewer"
    if problems:
        raise _refusal(entry.name, plain, problems, longest)
    overlay = configured.overlay
    resolved = plain
    if not overlay.is_empty:
        resolved = await _laid_over(find, entry, overlay, context.headroom, on_progress)
    if configured.gpu_share is not None and (problem := _beyond(configured.gpu_share, resolved, context.budget)):
        raise _refusal(entry.name, plain, {SHARE: problem})
    return ConfiguredModel(plain=plain, resolved=resolved, overlay=overlay)


def _premises(plain: Resolved) -> LoadBaseline:
    return LoadBaseline(spec=plain.spec, gpus=plain.gpus, quantization=plain.quantization, dtype=plain.dtype)


def _longest(plain: Resolved, overlay: LoadOverrides) -> int | None:
    """Return the longest context of the model if ``overlay`` exceeds it; ``None`` if not, or not known."""
    wanted: int = overlay.settings.get("context_length", 0)
    if plain.longest_context is None:
        return None
    # Settings that exceed what the model was trained for are deliberate.
    longest = max(plain.longest_context, plain.spec.context_length or 0)
    return longest if wanted > longest else None


async def _laid_over(
    find: FindModel, entry: ModelEntry, overlay: LoadOverrides, headroom: Headroom, on_progress: Callable[[float], None]
) -> Resolved:
    """Return the model with ``overlay``, as an engine that takes it."""
    settings = entry.settings.model_copy(
        update={**overlay.settings, "engine_options": {**entry.settings.engine_options, **overlay.options}}
    )
    try:
        resolved = await find(replace(entry, settings=settings), on_progress, headroom=headroom)
        resolved.engine.launch(resolved.spec, "")  # what it refuses there, it refuses before anything is unloaded
    except ConfigError as error:
        param = LENGTH if LENGTH in overlay.config else next(iter(overlay.config))
        raise InvalidRequest(f"{param}: {error.message}.", param=param, **error.details) from error
    return resolved


def _beyond(share: float, resolved: Resolved, budget: Bytes) -> str:
    """Return why a model does not stay within ``share`` of each GPU; empty if it does."""
    gpus = {pool: int(share * count) for pool, count in budget.items() if pool != RAM and pool in resolved.need_bytes}
    over = {pool: count for pool, count in gpus.items() if resolved.need_bytes[pool] > count}
    if not over:
        return ""
    pool, count = next(iter(over.items()))
    return (
        f"{resolved.engine.name} takes what the model needs, {resolved.need_bytes[pool] // MB:,} MB of {pool}, and "
        f"{share:g} of that is {count // MB:,} MB; ask for a larger share or a smaller max_model_len. What all models "
        "take together is limited by --gpu-memory-budget"
    )


def _refusal(model: str, plain: Resolved, problems: Mapping[str, str], longest: int | None = None) -> RequestError:
    said = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    param, maximum = next(iter(problems)), {} if longest is None else {"maximum": longest}
    if set(problems) == {LENGTH} and longest is not None:
        return InvalidRequest(f"{said}.", param=param, model=model, **maximum)
    return UnsupportedParameter(
        f"{model} stays as it is: its engine, {plain.engine.name}, cannot honour that. {said}.",
        param=param,
        model=model,
        engine=plain.engine.name,
        fields=dict(problems),
        **maximum,
    )
