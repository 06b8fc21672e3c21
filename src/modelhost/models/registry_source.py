"""Where the model of a registry entry is, as the one text that ``locate`` takes."""

from __future__ import annotations

from pathlib import Path

from modelhost.engines.base import Accepted
from modelhost.models.hub_reference import HubReference, parse_reference
from modelhost.models.locate import PICKLED, WEIGHTS_SUFFIXES, WHOLE_DIRECTORY
from modelhost.models.registry_file import EntryFile

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


def source_of(entry: EntryFile, directory: Path, *, needs_files: bool) -> Accepted:
    """Return the ``model`` of ``entry``; relative paths begin at ``directory``."""
    given = [key for key in ("hf_id", "local_path", "url") if getattr(entry, key) is not None]
    if entry.url is not None:
        return _problem('"url": models behind another server\'s address are not part of this version')
    if len(given) > 1:
        return _problem(f"{' and '.join(given)} are both given; keep one")
    if not given:
        if entry.weight_file is not None:
            return _problem('"weight_file" is a file of "hf_id" or of "local_path", and neither is given')
        return _problem('it has no model: give "hf_id" or "local_path"') if needs_files else Accepted(settings={})
    if entry.weight_file is not None and entry.weight_file.endswith(WEIGHTS_SUFFIXES):
        way_out = WHOLE_DIRECTORY if entry.weight_file.endswith(".safetensors") else PICKLED
        return _problem(f'"weight_file": {entry.weight_file}: {way_out}')
    return _of_hub(entry) if entry.hf_id is not None else _of_path(entry, directory)


def anchored(text: str, directory: Path) -> Path:
    """Return the path ``text``, which may be relative to ``directory`` or begin with ``~``."""
    return directory / Path(text).expanduser()


def _of_hub(entry: EntryFile) -> Accepted:
    quantization = entry.params.quantization if entry.params else None
    reference = parse_reference(entry.hf_id or "")
    if reference is None:
        return _problem(f'"hf_id": expected org/name, got "{entry.hf_id}"')
    wishes = {"hf_id": reference.wanted, "weight_file": entry.weight_file}
    named = [key for key, wish in wishes.items() if wish]
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
    return Accepted(settings={"model": text}, warnings=_unused_quantization(quantization if named else None))


def _of_path(entry: EntryFile, directory: Path) -> Accepted:
    path = anchored(entry.local_path or "", directory)
    quantization = entry.params.quantization if entry.params else None
    if entry.revision is not None:
        return _problem('"revision" is of a model from the hub, and "local_path" is given')
    if entry.weight_file is not None:
        if path.is_file():
            return _problem('"weight_file" is a file in the directory "local_path", which is a file itself; keep one')
        path = path / entry.weight_file
    warnings = [] if path.exists() else [f"there is no {path} yet; requests for it fail as long as it is missing"]
    return Accepted(settings={"model": str(path)}, warnings=(*warnings, *_unused_quantization(quantization)))


def _quantization(name: str) -> str:
    return QUANTIZATIONS.get(name.lower().replace("_", ""), name)


def _unused_quantization(name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    return (
        '"params.quantization" has no effect where the file is named: llama.cpp takes it as it is, quantized or not',
    )


def _problem(text: str) -> Accepted:
    return Accepted(settings={}, problems=(text,))
