"""The command line of a ``llama-server`` for a worker's configuration, depending on the flags that it has.

Versions have different names for flags, and old versions lack some. If the program lacks a flag that a setting or an
option requires, that is an error with its name; flags for modelhost's defaults are left out and reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelhost.engines.llamacpp.config import (
    encoder_uses_gpu,
    listener_threads,
    prompt_threads,
    slot_save_path,
    speculation_kinds,
    tasks_of,
    total_context,
)
from modelhost.engines.llamacpp.program import ServerProgram

PER_SLOT: Final = "--kv-unified-per-slot"
KEY_VARIABLE: Final = "LLAMA_API_KEY"
ALL_LAYERS: Final = "999"  # more than any model has
FlagWords = tuple[str, ...]
"""A flag with its values; empty: it is the program's default."""
BY_ITSELF: Final[FlagWords] = ()


class MissingFlagError(Exception):
    """The program lacks a flag that is required; the message is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """How a program is started."""

    arguments: tuple[str, ...]
    config: Mapping[str, Any]
    """The resulting configuration."""
    lacks: tuple[str, ...]
    """The flags for defaults that the program does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRequirement:
    """A behaviour of the program, with the flags for it in different versions, newest first."""

    alternatives: tuple[FlagWords, ...]
    requested_by: str = ""
    """The setting or option that requires it; empty for a default."""
    is_essential: bool = False
    """Whether modelhost cannot work without it."""


def command_line(
    config: dict[str, Any], program: ServerProgram, *, host: str, port: int, template: str | None
) -> CommandLine:
    """Return how ``program`` is to be started for ``config``, to listen on ``host`` and ``port``.

    ``template`` is the file with the chat template of ``config``, if it has one.

    Raises:
        MissingFlagError: it lacks a flag that is required.
    """
    if not program.help_mentions("--api-key", KEY_VARIABLE):
        raise MissingFlagError(f"{_named(program)} takes no key from {KEY_VARIABLE}; use a newer one")
    config = _within_abilities(config, program)
    wanted = [
        *_network(config, host, port),
        *_context(config, program),
        *_caches(config),
        *_speed(config, program),
        *_model(config, program, template),
    ]
    chosen = [(each, _choose(each, program)) for each in wanted]
    lacks = [each.alternatives[0][0] for each, way in chosen if way is None]
    if not program.has(PER_SLOT):
        lacks.append(PER_SLOT)
    arguments = (program.path, *(word for _, way in chosen for word in way or ()))
    return CommandLine(arguments=arguments, config=config, lacks=tuple(lacks))


def _within_abilities(config: dict[str, Any], program: ServerProgram) -> dict[str, Any]:
    """Return ``config`` without embeddings if the program would compute them incorrectly in addition to chats.

    Chats need a share of the context for each slot. Without a limit per slot, that takes a separate cache for each
    slot, with which llama.cpp pools only a part of a text's tokens.
    """
    embeds_besides = config["embeddings"] and "chat" in tasks_of(config)
    if program.has(PER_SLOT) or not embeds_besides or config["slots"] == 1:
        return config
    if requested_by := _requested(config, "embeddings"):
        raise MissingFlagError(_missing(program, PER_SLOT, f"{requested_by} (beside chats, with more slots than one)"))
    return {**config, "embeddings": False}


def _choose(wanted: FlagRequirement, program: ServerProgram) -> FlagWords | None:
    """Return the first alternative that ``program`` has; ``None`` if it has none and none is required.

    Raises:
        MissingFlagError: it has none, and one is required.
    """
    found = next((way for way in wanted.alternatives if not way or program.has(way[0])), None)
    if found is None and (wanted.is_essential or wanted.requested_by):
        raise MissingFlagError(_missing(program, wanted.alternatives[0][0], wanted.requested_by))
    return found


def _missing(program: ServerProgram, flag: str, requested_by: str) -> str:
    lacks = f"{_named(program)} has no {flag}"
    if not requested_by:
        return f"{lacks}, without which modelhost cannot use it; use a newer one, or none (the engine option server)"
    return f"{lacks}, which {requested_by} requires; use a newer one, or leave it out"


def _named(program: ServerProgram) -> str:
    return f"this llama-server (version {program.version}, {program.path})"


def _essential(*way: str) -> FlagRequirement:
    return FlagRequirement(alternatives=(way,), is_essential=True)


def _network(config: dict[str, Any], host: str, port: int) -> Iterator[FlagRequirement]:
    yield _essential("--host", host)
    yield _essential("--port", str(port))
    yield _essential("--alias", config["name"])
    yield _essential("--threads-http", str(listener_threads(config)))
    yield FlagRequirement(alternatives=(("--no-ui",), ("--no-webui",)))
    yield FlagRequirement(alternatives=(("--slots",), BY_ITSELF))
    yield FlagRequirement(alternatives=(("--metrics",),))
    yield FlagRequirement(alternatives=(("--sse-ping-interval", "-1"),))  # the host sends keep-alive comments itself
    yield FlagRequirement(alternatives=(("--offline",),))


def _context(config: dict[str, Any], program: ServerProgram) -> Iterator[FlagRequirement]:
    yield _essential("--parallel", str(config["slots"]))
    yield _essential("--ctx-size", str(total_context(config)))
    yield _essential("--no-context-shift")  # context shift would silently drop the beginning of a long conversation
    yield _essential("--batch-size", str(config["batch_size"]))
    yield _essential("--ubatch-size", str(config["micro_batch_size"]))
    if program.has(PER_SLOT):
        yield _essential("--kv-unified")
        yield _essential(PER_SLOT, str(config["context_length"]))
    elif "chat" in tasks_of(config):
        yield FlagRequirement(
            alternatives=(("--no-kv-unified",), BY_ITSELF)
        )  # as it is anyway where the slots are counted
    else:
        yield FlagRequirement(
            alternatives=(("--kv-unified",), BY_ITSELF)
        )  # a text is no longer than a batch: no slot takes too much
    kind = config["kv_cache_type"]
    requested_by = f"kv_cache_type={kind}" if kind != "f16" else ""
    yield FlagRequirement(alternatives=(("--cache-type-k", kind),), requested_by=requested_by)
    yield FlagRequirement(alternatives=(("--cache-type-v", kind),), requested_by=requested_by)


def _caches(config: dict[str, Any]) -> Iterator[FlagRequirement]:
    if config["enable_prefix_caching"]:
        yield FlagRequirement(alternatives=(("--cache-prompt",), BY_ITSELF))
    else:
        yield FlagRequirement(
            alternatives=(("--no-cache-prompt",),), requested_by="engine option enable_prefix_caching=false"
        )
    yield FlagRequirement(
        alternatives=(("--cache-ram", str(config["cache_ram_mib"])),), requested_by=_requested(config, "cache_ram_mib")
    )
    least = config["n_cache_reuse"]
    yield FlagRequirement(
        alternatives=(("--cache-reuse", str(least)),),
        requested_by=f"engine option n_cache_reuse={least}" if least else "",
    )
    if folder := slot_save_path(config):
        yield FlagRequirement(
            alternatives=(("--slot-save-path", folder),), requested_by=_requested(config, "slot_save_path")
        )


def _speed(config: dict[str, Any], program: ServerProgram) -> Iterator[FlagRequirement]:
    yield _essential("--threads", str(config["threads"]))
    yield _essential("--threads-batch", str(prompt_threads(config)))
    if config["pinned_cpus"]:
        mask = f"{sum(1 << cpu for cpu in config['pinned_cpus']):x}"
        for of in ("", "-batch"):  # strict: one CPU of the mask for each thread
            yield FlagRequirement(alternatives=((f"--cpu-mask{of}", mask, f"--cpu-strict{of}", "1"),))
    yield _attention(config["flash_attention"], program)
    yield from _layers(config["gpu_layers"], program)
    if config["split_mode"] != "layer":  # which is the default; a build without GPUs warns about the flag
        way = ("--split-mode", config["split_mode"])
        yield FlagRequirement(alternatives=(way,), requested_by="engine option tensor_parallel_size")
    if config["tensor_split"]:
        yield FlagRequirement(alternatives=(("--tensor-split", ",".join(map(str, config["tensor_split"]))),))
    yield FlagRequirement(alternatives=(("--fit", "off"), BY_ITSELF))  # the host has decided the context and the slots
    if config["mmap"]:
        yield FlagRequirement(alternatives=(("--load-mode", "mmap"), BY_ITSELF))
    else:
        yield FlagRequirement(
            alternatives=(("--load-mode", "none"), ("--no-mmap",)), requested_by="engine option mmap=false"
        )
    if config["check_tensors"]:
        yield FlagRequirement(alternatives=(("--check-tensors",),), requested_by=_requested(config, "check_tensors"))
    if program.help_mentions("--verbosity", "1: error"):  # in older versions, 1 is more verbose than the default
        yield _essential("--verbosity", "1")


def _attention(kind: str, program: ServerProgram) -> FlagRequirement:
    if program.help_mentions("--flash-attn", "auto"):
        return _essential("--flash-attn", kind)
    # A switch in older versions, off by default.
    requested_by = "engine option flash_attention=on" if kind == "on" else ""
    return FlagRequirement(alternatives=(("--flash-attn",) if kind == "on" else BY_ITSELF,), requested_by=requested_by)


def _layers(wanted: int | None, program: ServerProgram) -> Iterator[FlagRequirement]:
    if wanted is not None:
        yield FlagRequirement(alternatives=(("--n-gpu-layers", str(wanted)),), requested_by=f"gpu_layers={wanted}")
        if wanted == 0:  # large prompts would be computed on a GPU all the same
            yield FlagRequirement(alternatives=(("--no-op-offload",), BY_ITSELF))
    elif not program.help_mentions("--n-gpu-layers", "auto"):  # older versions put no layers on GPUs by default
        yield FlagRequirement(alternatives=(("--n-gpu-layers", ALL_LAYERS), BY_ITSELF))


def _model(config: dict[str, Any], program: ServerProgram, template: str | None) -> Iterator[FlagRequirement]:
    yield _essential("--model", config["path"])
    yield _essential("--jinja")
    if template is not None:
        yield FlagRequirement(alternatives=(("--chat-template-file", template),), requested_by="chat_template")
    if config["pooling"] == "rank":
        yield _essential("--reranking")
    elif config["embeddings"]:
        yield _essential("--embeddings")
        yield _essential("--pooling", config["pooling"])
    yield from _adapters(config["lora"], program)
    if config["mmproj_path"] is not None:
        yield FlagRequirement(alternatives=(("--mmproj", config["mmproj_path"]),), requested_by="mmproj")
        if not encoder_uses_gpu(config):
            yield FlagRequirement(alternatives=(("--no-mmproj-offload",), BY_ITSELF))
    yield from _speculation(config, program)


def _adapters(adapters: list[tuple[str, float]], program: ServerProgram) -> Iterator[FlagRequirement]:
    """Yield the adapters with their scales: one flag for all, or in older programs one for each."""
    if not adapters:
        return
    if not program.help_mentions("--lora-scaled", "FNAME:SCALE"):
        for path, scale in adapters:
            yield FlagRequirement(alternatives=(("--lora-scaled", path, str(scale)),), requested_by="lora")
        return
    if any(":" in path for path, _ in adapters):
        raise MissingFlagError(f"lora: {_named(program)} takes no file with a colon in its path; give it another name")
    values = ",".join(_quoted(f"{path}:{scale}") for path, scale in adapters)
    yield FlagRequirement(alternatives=(("--lora-scaled", values),), requested_by="lora")


def _quoted(field: str) -> str:
    """Return ``field`` as one of a row in CSV, which ``parse_csv_row`` of llama.cpp takes apart."""
    return '"' + field.replace('"', '""') + '"' if {",", '"'} & set(field) else field


def _speculation(config: dict[str, Any], program: ServerProgram) -> Iterator[FlagRequirement]:
    if config["draft_path"] is not None:
        draft, threads = config["draft_path"], str(config["threads"])
        yield FlagRequirement(
            alternatives=(("--spec-draft-model", draft), ("--model-draft", draft)), requested_by="draft_model"
        )
        yield FlagRequirement(alternatives=(("--spec-draft-threads", threads), ("--threads-draft", threads)))
    guess = config["speculation"]
    if guess != "none" and not program.help_mentions("--spec-type", guess):
        raise MissingFlagError(_missing(program, f"--spec-type {guess}", f"engine option speculation={guess}"))
    # One that does not know the first kind takes a draft model for what it is.
    if kinds := [kind for kind in speculation_kinds(config) if program.help_mentions("--spec-type", kind)]:
        yield _essential("--spec-type", ",".join(kinds))


def _requested(config: dict[str, Any], option: str) -> str:
    """Return the name of ``option`` if its value is not the default; otherwise an empty text."""
    return f"engine option {option}={config[option]}" if option in config["options_given"] else ""
