"""Where an entry's model and the files beside it are: ``${VAR}``, ``~`` and relative paths resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from modelhost.config.paths import broken_link
from modelhost.config.variables import expand, problems_in
from modelhost.engines.adapters import split_name
from modelhost.engines.base import AcceptedParams
from modelhost.engines.prompting import STOPS
from modelhost.models.files.model_files import PICKLED, WEIGHTS_SUFFIXES, WHOLE_DIRECTORY
from modelhost.models.hub.references import HubReference, parse_reference, url_problem
from modelhost.models.registry.schema import EntryFile

PLACES: Final = ("local_path", "weight_file", "python", "url", "base_url", "api_key")
"""Keys of an entry that are places, and the secret that goes with one."""
PARAM_PLACES: Final = ("lora", "draft_model", "mmproj", "chat_template")
"""The same of its ``params``."""


def absolute_path(text: str, directory: Path) -> Path:
    """Return the path ``text``, which may be relative to ``directory`` or begin with ``~``."""
    path = Path(text)
    with suppress(RuntimeError):  # of a user who is not known here: the path is missing, as any other
        path = path.expanduser()
    return directory / path


def absolute_adapter(text: str, directory: Path) -> str:
    """Return ``text``, one of the setting ``lora``, with its file as :func:`absolute_path` returns it."""
    name, place = split_name(text)
    path = str(absolute_path(place, directory))
    return path if name is None else f"{name}={path}"


def is_template_text(value: Any) -> bool:
    """Whether a ``chat_template`` is the template's text: it is if it contains Jinja."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def names_bundled_template(value: str, path: Path) -> bool:
    """Whether a ``chat_template`` names a bundled template, unless there is a file at ``path``."""
    return value in STOPS and not path.is_file()


def absolute_value(key: str, value: str, directory: Path) -> str:
    """Return the place ``value`` of ``key``, which may be relative to ``directory``, as a path.

    The text of a template stays, and so does the name of one that comes with modelhost.
    """
    path = absolute_path(value, directory)
    is_template = is_template_text(value) or (key == "chat_template" and names_bundled_template(value, path))
    return value if is_template else str(path)


def with_variables(entry: EntryFile, variables: Mapping[str, str]) -> tuple[EntryFile, tuple[str, ...]]:
    """Return ``entry`` with the variables in its places expanded, or unchanged with a problem for each unknown one."""
    given, of_params = _given(entry, PLACES), _given(entry.params, PARAM_PLACES)
    problems = (*_problems(given, variables, ""), *_problems(of_params, variables, "params."))
    if problems:
        return entry, problems
    update = expand(given, variables)
    if entry.params is not None:
        update["params"] = entry.params.model_copy(update=expand(of_params, variables))
    return entry.model_copy(update=update), ()


def _given(keys: BaseModel | None, names: Iterable[str]) -> dict[str, Any]:
    values = {name: getattr(keys, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None and not is_template_text(value)}


def _problems(given: Mapping[str, Any], variables: Mapping[str, str], prefix: str) -> Iterator[str]:
    for name, value in given.items():
        yield from problems_in(value, variables, f'"{prefix}{name}"')


QUANTIZATIONS = {
    "q2k": "Q2_K",
    "q3k": "Q3_K_M",
    "q4k": "Q4_K_M",
    "q5k": "Q5_K_M",
    "q6k": "Q6_K",
    "q8k": "Q8_0",
    "q40": "Q4_0",
    "q41": "Q4_1",
    "q50": "Q5_0",
    "q51": "Q5_1",
    "q80": "Q8_0",
}
"""candle's names of quantizations, and the words that GGUF files have for the usual one of them."""


def model_source(entry: EntryFile, directory: Path, *, needs_files: bool) -> AcceptedParams:
    """Return the ``model`` of ``entry``; relative paths begin at ``directory``."""
    given = [key for key in ("hf_id", "local_path", "url", "base_url") if getattr(entry, key) is not None]
    if len(given) > 1:
        return _problem(f"{' and '.join(given)} are both given; keep one")
    if is_remote(entry):
        return _of_server(entry, given[0])
    if problem := _problem_of_files(entry, given, needs_files=needs_files):
        return _problem(problem)
    if not given:
        return AcceptedParams(settings={})
    return _of_hub(entry) if entry.hf_id is not None else _of_path(entry, directory)


def _problem_of_files(entry: EntryFile, given: list[str], *, needs_files: bool) -> str:
    """Return what is wrong with the entry of a model with files; empty if nothing is."""
    if entry.api_key is not None:
        return '"api_key" is for the server of a "url", and none is given'
    if not given and entry.weight_file is not None:
        return '"weight_file" is a file of "hf_id" or of "local_path", and neither is given'
    if not given and needs_files:
        return 'it has no model: give "hf_id", "local_path" or "url"'
    if entry.weight_file is not None and entry.weight_file.endswith(WEIGHTS_SUFFIXES):
        way_out = WHOLE_DIRECTORY if entry.weight_file.endswith(".safetensors") else PICKLED
        return f'"weight_file": {entry.weight_file}: {way_out}'
    return ""


def is_remote(entry: EntryFile) -> bool:
    """Whether the model of ``entry`` is on another server."""
    return entry.url is not None or entry.base_url is not None


def _of_server(entry: EntryFile, key: str) -> AcceptedParams:
    for name in ("weight_file", "revision"):
        if getattr(entry, name) is not None:
            return _problem(f'"{name}" is of a model with files, and "{key}" is given')
    urls = [url.strip() for url in getattr(entry, key)]
    if problems := [problem for url in urls if (problem := url_problem(url))]:
        return AcceptedParams(settings={}, problems=tuple(f'"{key}": {problem}' for problem in problems))
    if not urls:
        return _problem(f'"{key}" is empty')
    quantization = entry.params.quantization if entry.params else None
    return AcceptedParams(
        settings={"model": ",".join(urls), "remote_api_key": entry.api_key},
        warnings=('"params.quantization" has no effect with a remote model: its server decides that',)
        if quantization
        else (),
    )


def _of_hub(entry: EntryFile) -> AcceptedParams:
    quantization = entry.params.quantization if entry.params else None
    reference = parse_reference(entry.hf_id or "")
    if reference is None:
        return _problem(f'"hf_id": expected org/name, got "{entry.hf_id}"')
    files = {"hf_id": reference.wanted, "weight_file": entry.weight_file}
    named = [key for key, file in files.items() if file]
    if len(named) > 1:
        return _problem(
            '"hf_id" names a file or a quantization already; remove "weight_file" or what follows the colon'
        )
    wanted = reference.wanted or entry.weight_file or (_quantization(quantization) if quantization else None)
    # With the scheme, a directory of the same name in the working directory is not taken for the model.
    text = f"hf://{HubReference(repository=reference.repository, wanted=wanted)}"
    if parse_reference(text) is None:
        return _problem(
            f'"{"weight_file" if entry.weight_file else "params.quantization"}": no file is called "{wanted}"'
        )
    settings = {"model": text}
    if reference.revision and entry.revision is None:
        settings["revision"] = reference.revision
    return AcceptedParams(settings=settings, warnings=_unused_quantization(quantization if named else None))


def _of_path(entry: EntryFile, directory: Path) -> AcceptedParams:
    path = absolute_path(entry.local_path or "", directory)
    quantization = entry.params.quantization if entry.params else None
    if entry.revision is not None:
        return _problem('"revision" is of a model from the hub, and "local_path" is given')
    if entry.weight_file is not None:
        if path.is_file():
            return _problem('"weight_file" is a file in the directory "local_path", which is a file itself; keep one')
        path = absolute_path(entry.weight_file, path)
    warnings = [] if path.exists() else [_missing(path)]
    return AcceptedParams(settings={"model": str(path)}, warnings=(*warnings, *_unused_quantization(quantization)))


def _missing(path: Path) -> str:
    nowhere = broken_link(path)
    why = f"{path}: {nowhere}" if nowhere else f"there is no {path} yet"
    return f"{why}; requests for it fail as long as it is missing"


def _quantization(name: str) -> str:
    return QUANTIZATIONS.get(name.lower().replace("_", ""), name)


def _unused_quantization(name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    return (
        '"params.quantization" has no effect where the file is named: llama.cpp takes it as it is, quantized or not',
    )


def _problem(text: str) -> AcceptedParams:
    return AcceptedParams(settings={}, problems=(text,))
