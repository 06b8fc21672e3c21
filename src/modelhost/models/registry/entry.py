"""One model of the registry: from what the file says of it (candle-vllm's too) to the settings it runs with."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from modelhost.config import environment
from modelhost.config.checks import find_problems, suggestion
from modelhost.config.fields import SETTINGS, GivenValue, Origin
from modelhost.config.paths import broken_link
from modelhost.config.settings import Settings
from modelhost.engines import ENGINES, TRAITS
from modelhost.engines.base import AcceptedParams
from modelhost.engines.installed import default_engine, engine_with_package, serves, serving
from modelhost.exchange.messages import Message
from modelhost.models.files.media_encoder import WITHOUT
from modelhost.models.registry import places, request_defaults
from modelhost.models.registry.likely_engine import likely_engine, provisional_engine
from modelhost.models.registry.request_defaults import default_problems
from modelhost.models.registry.schema import ENTRY_SETTINGS, PARAM_SETTINGS, EntryFile, Params, ParkingLot, RegistryFile
from modelhost.plurals import counted
from modelhost.workers.machine import allowed_cores

MEMORY = "memory"


def parking_lot_settings(lots: Iterable[ParkingLot | None], *, cores: int) -> AcceptedParams:
    """Return candle-vllm's ``lots`` (of all models, of one, of its params) as settings; a later one wins, key by key.

    What has no equivalent is a warning or a problem.
    """
    values: dict[str, Any] = {}
    for lot in lots:
        values |= _flat(lot)
    settings: dict[str, Any] = {}
    for key, setting in (("max_queue_depth", "queue_size"), ("timeout_secs", "request_timeout")):
        given = values.get(f"limits.{key}", values.get(f"pool.{key}"))
        if given is not None:
            settings[setting] = given
    warnings = []
    threads = values.get("pool.worker_threads")
    if threads is not None:
        settings["threads"] = min(threads, cores)
        if threads > cores:
            warnings.append(
                f'"parking_lot.pool.worker_threads": {threads} is more than the {counted(cores, "core")} this process '
                f"may use; {cores} {'is' if cores == 1 else 'are'} used"
            )
    if "limits.max_units" in values:
        warnings.append(
            '"parking_lot.limits.max_units" has no effect: max_num_seqs bounds the requests at once, kvcache_mem_gpu '
            "their memory"
        )
    if "mailbox.retention_secs" in values:
        warnings.append(
            '"parking_lot.mailbox.retention_secs" has no effect: an answer goes to its client and is not kept'
        )
    return AcceptedParams(settings=settings, problems=tuple(_unsupported(values)), warnings=tuple(warnings))


def _flat(lot: ParkingLot | None) -> dict[str, Any]:
    """The values as ``limits.timeout_secs``."""
    found: dict[str, Any] = {}
    for part in type(lot).model_fields if lot is not None else ():
        inner = getattr(lot, part)
        if isinstance(inner, BaseModel):
            found |= {f"{part}.{key}": value for key, value in inner.model_dump(exclude_none=True).items()}
    return found


def _unsupported(values: dict[str, Any]) -> list[str]:
    """Return a problem for each feature that is not supported: accepting it would be a promise that is not kept."""
    problems = []
    for part in ("queue", "mailbox"):
        backend = values.get(f"{part}.backend", MEMORY)
        if backend != MEMORY:
            problems.append(
                f'"parking_lot.{part}.backend": "{backend}" is not part of this version: requests and answers are kept '
                'in memory only; set it to "memory"'
            )
    if values.get("queue.persistence"):
        problems.append(
            '"parking_lot.queue.persistence" is not part of this version: waiting requests end with the host; set it '
            "to false"
        )
    if values.get("mailbox.webhook", {}).get("enabled"):
        problems.append('"parking_lot.mailbox.webhook" is not part of this version; set its "enabled" to false')
    return problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The beginning of the conversations with a model."""

    system: str | None = None
    """The system message of conversations that bring none."""
    messages: tuple[Message, ...] = ()
    """Messages between the system message and those of the request."""


NO_PRESET: Final = Preset()


OWN: Final = (
    "model",
    "alias",
    "revision",
    "lora",
    "draft_model",
    "mmproj",
    "chat_template",
    "remote_api_key",
    "special_token_list",
)
"""Settings that belong to one model: an entry does not take them over from the host's."""
PATHS: Final = ("draft_model", "mmproj", "chat_template")
GUESSED: Final = ' (the repository is taken to have GGUF files: name the "engine" if it has safetensors)'
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model that the host may load. ``settings`` is complete: ``resolve(settings)`` turns it into files."""

    name: str
    aliases: tuple[str, ...] = ()
    settings: Settings
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The values that its requests get where they are silent."""
    launch: Mapping[str, Any] = field(default_factory=dict)
    """Launch parameters for whichever engine it gets, besides the ``settings``."""
    is_pinned: bool = False
    idle_unload_seconds: float | None = None
    replicas: int = 1
    notes: str | None = None
    preset: Preset = NO_PRESET
    """What its conversations begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryContext:
    """What all entries of a file share. ``directory`` is where their relative paths begin, ``variables`` what the
    references in their paths stand for."""

    file: RegistryFile
    base: Settings
    directory: Path
    variables: Mapping[str, str]


def build_entry(entry: EntryFile, frame: EntryContext) -> tuple[ModelEntry | None, list[str], list[str]]:
    """Return the model that ``entry`` describes (or ``None``), its problems and its warnings."""
    entry, unresolved = places.with_variables(entry, frame.variables)
    if unresolved:
        return None, list(unresolved), []
    engine_name = _engine_name(entry, frame)
    lots = (frame.file.parking_lot, entry.params.parking_lot if entry.params else None, entry.parking_lot)
    params = _given(entry.params)
    checked = checked_settings(params, PARAM_SETTINGS, "params.")
    others = {name: value for name, value in params.items() if name not in (*PARAM_SETTINGS, "parking_lot")}
    accepted, hint = _accepted(engine_name, {**others, **checked.settings}), GUESSED if _is_guess(entry, frame) else ""
    parts = (
        parking_lot_settings(lots, cores=allowed_cores()),
        places.model_source(
            entry,
            frame.directory,
            needs_files=not serves(engine_name, "script") and engine_with_package(None, engine_name) is None,
        ),
        checked,
        replace(accepted, problems=tuple(problem + hint for problem in accepted.problems)),
        checked_settings(_given(entry), ENTRY_SETTINGS, ""),
        _process(entry, frame.directory),
    )
    problems = [*_refused(entry), *(problem for part in parts for problem in part.problems)]
    warnings = [warning for part in parts for warning in part.warnings]
    settings: dict[str, Any] = {}
    for part in parts:
        twice = settings.get("worker_env", {}).keys() & part.settings.get("worker_env", {}).keys()
        problems += [f'"env": "params.device_ids" sets {name} already; keep one' for name in sorted(twice)]
        env = {**settings.get("worker_env", {}), **part.settings.get("worker_env", {})}
        settings |= {**part.settings, "worker_env": env}
    if problems:
        return None, problems, warnings
    settings["engine"] = _named_engine(entry, frame)
    built = _entry(entry, settings, frame)
    if not _is_guess(entry, frame):
        wrong = default_problems(built.defaults, provisional_engine(built.settings))
        problems += [f"request default {problem}" for problem in wrong]
    return built, problems, warnings


def _engine_name(entry: EntryFile, frame: EntryContext) -> str:
    """Return the engine of ``entry``: its own, the host's, else the one for the files at its path."""
    named = _named_engine(entry, frame)
    if named is not None or entry.local_path is None:
        return named or default_engine("gguf")
    model = places.absolute_path(entry.weight_file or "", places.absolute_path(entry.local_path, frame.directory))
    return likely_engine(frame.base.model_copy(update={"model": str(model)}))


def _named_engine(entry: EntryFile, frame: EntryContext) -> str | None:
    """Return the engine that the entry or the host names; models of other servers have their own."""
    if entry.engine is not None:
        return entry.engine
    if places.is_remote(entry):
        return serving("server")
    return None if serves(frame.base.engine, "server") else frame.base.engine


def _is_guess(entry: EntryFile, frame: EntryContext) -> bool:
    """Whether the engine of ``entry`` is only known once the hub has listed its files."""
    return _named_engine(entry, frame) is None and entry.local_path is None


def _accepted(engine_name: str, params: Mapping[str, Any]) -> AcceptedParams:
    """What the engine makes of ``params``, without the request defaults among them."""
    if engine_name not in ENGINES:
        return AcceptedParams(settings={}, problems=(_unknown_engine(engine_name),))
    launch = {name: value for name, value in params.items() if name not in request_defaults.NAMES}
    foreign = [
        f'"params.{name}" is for the engine {other.name}, not for {engine_name}'
        for other in TRAITS.values()
        for name in other.own_params
        if other.name != engine_name and name in launch
    ]
    if foreign:
        return AcceptedParams(settings={}, problems=tuple(foreign))
    return ENGINES[engine_name].accept(launch)


def _entry(entry: EntryFile, found: dict[str, Any], frame: EntryContext) -> ModelEntry:
    base = frame.base
    inherited = {key: getattr(base, key) for key in Settings.model_fields if key not in OWN}
    aliases = tuple(dict.fromkeys(alias for alias in entry.aliases if alias != entry.name))
    env = {name: SecretStr(value) for name, value in found["worker_env"].items()}
    own: dict[str, Any] = {**found, "alias": (entry.name, *aliases), "worker_env": {**base.worker_env, **env}}
    if _engine_name(entry, frame) == (base.engine or default_engine("gguf")):
        own["engine_options"] = {**base.engine_options, **found.get("engine_options", {})}
    else:
        own["engine_options"] = found.get("engine_options", {})
    own["idle_unload_secs"] = _idle_unload(entry, frame)
    for key in PATHS:
        if own.get(key) and own[key] != WITHOUT:
            own[key] = places.absolute_value(key, own[key], frame.directory)
    own["lora"] = tuple(places.absolute_adapter(each, frame.directory) for each in found.get("lora", ()))
    settings = Settings.model_validate({**inherited, **own})
    return ModelEntry(
        name=entry.name,
        aliases=aliases,
        settings=settings,
        defaults=base.request_defaults
        | {key: value for key, value in _given(entry.params).items() if key in request_defaults.NAMES},
        is_pinned=entry.pinned,
        idle_unload_seconds=settings.idle_unload_secs,
        replicas=entry.replicas,
        notes=entry.notes,
    )


def _idle_unload(entry: EntryFile, frame: EntryContext) -> float | None:
    """The seconds of the entry, else of the file, else of the host; an explicit ``null`` means never."""
    for level in (entry, frame.file):
        if "idle_unload_secs" in level.model_fields_set:
            return level.idle_unload_secs
    return frame.base.idle_unload_secs


def _given(keys: EntryFile | Params | None) -> dict[str, Any]:
    """The keys that are set and not ``null``, with nested models as mappings."""
    values = {name: getattr(keys, name) for name in keys.model_fields_set} if keys is not None else {}
    return {
        name: value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else value
        for name, value in values.items()
        if value is not None
    }


def checked_settings(values: Mapping[str, Any], names: tuple[str, ...], prefix: str) -> AcceptedParams:
    """Check those of ``values`` that are among the settings ``names``; lists are as the settings have them.

    Problems name a value with ``prefix`` before its key.
    """
    settings, problems = {}, []
    for name in names:
        if name not in values:
            continue
        setting, value = SETTINGS[name], values[name]
        if setting.kind == "list" and isinstance(value, str | list):
            value = (value,) if isinstance(value, str) else tuple(value)
        origin = Origin(kind="file")
        wrong = find_problems(GivenValue(setting=setting, value=value, origin=origin, label=f'"{prefix}{name}"'))
        problems += wrong
        if not wrong:
            settings[name] = value
    threads = settings.get("threads")
    if threads is not None and threads > allowed_cores():
        cores = counted(allowed_cores(), "core")
        problems.append(f'"{prefix}threads": {threads} is more than the {cores} this process may use')
    return AcceptedParams(settings=settings, problems=tuple(problems))


def _process(entry: EntryFile, directory: Path) -> AcceptedParams:
    """The Python and the environment of its worker."""
    settings: dict[str, Any] = {"worker_env": dict(entry.env)}
    problems = [f'"env": "{name}" is no name of a variable' for name in entry.env if not _VARIABLE.fullmatch(name)] + [
        f'"env.{name}": a variable cannot hold a NUL' for name, value in entry.env.items() if "\0" in value
    ]
    if entry.python is not None:
        python = _python(entry.python, directory)
        if python is None:
            nowhere = broken_link(places.absolute_path(entry.python, directory))
            problems.append(f'"python": there is no program {entry.python}{f": {nowhere}" if nowhere else ""}')
        else:
            settings["worker_python"] = python
    return AcceptedParams(settings=settings, problems=tuple(problems))


def _python(text: str, directory: Path) -> str | None:
    """A path as it is written (what a link in a virtual environment leads to is another Python), or a name on PATH."""
    if os.sep not in text and not text.startswith("~"):
        return shutil.which(text, path=environment.current().get("PATH"))
    path = places.absolute_path(text, directory)
    return str(path) if path.is_file() and os.access(path, os.X_OK) else None


def _refused(entry: EntryFile) -> list[str]:
    problems = []
    if entry.replicas > 1:
        problems.append(
            f'"replicas": {entry.replicas} workers of one model are not part of this version; slots serve several '
            "requests at once"
        )
    mode = entry.capabilities.vision_mode if entry.capabilities else None
    if mode not in {None, "disabled"}:
        problems.append(
            f'"capabilities.vision_mode": "{mode}" is not part of this version: a model sees with its own vision '
            'encoder, "params.mmproj"; set it to disabled'
        )
    if entry.engine is not None and serves(entry.engine, "server") != places.is_remote(entry):
        server = serving("server")
        problems.append(f'"engine": {entry.engine} is not for this model: {server} goes with "url", and no other')
    if any(name != name.strip() for name in (entry.name, *entry.aliases)):
        problems.append("a name begins or ends with a blank")
    return problems


def _unknown_engine(name: str) -> str:
    there = ", ".join(ENGINES)
    return f'"engine": expected one of {there}, got "{name}"{suggestion(name, list(ENGINES))}'
