"""From what a person calls a model (a path, a directory, a hub id, nothing) to files on this machine or on the hub."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Literal

from modelhost.errors import EngineMissing, ModelFileInvalid, ModelFileMissing
from modelhost.models.gguf import GgufHeader, read_header
from modelhost.models.hub_reference import HubReference, parse_reference
from modelhost.models.split_files import part_names, part_number, stem

BUNDLED_NAME = "modelhost-nano"
WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
OTHER_ENGINES = (
    "safetensors need one of the engines vllm, mlx, mistralrs or transformers, which are not part of this version: "
    "convert the model with llama.cpp's convert_hf_to_gguf.py, or serve a repository with GGUF files "
    "(most models have one, named like Qwen/Qwen3-4B-GGUF)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a model is. ``path`` and ``header`` are there unless it has to be downloaded (``hub``) or has no files."""

    kind: Literal["bundled", "gguf", "hub", "engine"]
    name: str
    path: Path | None = None
    header: GgufHeader | None = None
    reference: HubReference | None = None


def locate(model: str | None, *, revision: str | None = None, engine: str | None = None) -> Located:
    """Return where ``model`` is; paths that exist win over hub ids. Nothing is downloaded.

    Raises:
        ModelFileMissing: it looks like a path and is not there.
        ModelFileInvalid: it is not a GGUF file that can be served, or a directory that holds several or none.
        EngineMissing: it needs an engine that is not part of this version.
    """
    if engine == "scripted":
        path = Path(model).expanduser() if model else None
        return Located(kind="engine", name=path.stem if path else "scripted", path=path)
    if model is None:
        return _bundled()
    path = Path(model).expanduser()
    if path.is_dir():
        return _directory(path)
    if path.exists():
        return _file(path)
    reference = None if _looks_like_path(model) else parse_reference(model, revision)
    if reference is None:
        raise _missing(model, path)
    return Located(kind="hub", name=reference.repository, reference=reference)


def _bundled() -> Located:
    path = Path(str(files("modelhost"))) / "assets" / "nano" / f"{BUNDLED_NAME}.gguf"
    if not path.is_file():
        raise ModelFileMissing(
            f"the bundled model {BUNDLED_NAME} is not in this installation ({path}): "
            "build it with `make nano`, or name a model: a GGUF file, or a hub id like Qwen/Qwen3-4B-GGUF",
            path=str(path),
        )
    return Located(kind="bundled", name=BUNDLED_NAME, path=path, header=read_header(path))


def _file(path: Path) -> Located:
    if path.name.endswith(WEIGHTS_SUFFIXES):
        raise EngineMissing(f"{path}: {OTHER_ENGINES}", path=str(path))
    if (part_number(path.name) or 1) > 1:
        path = path.with_name(part_names(path.name)[0])
    return Located(kind="gguf", name=stem(path.name), path=path, header=read_header(path))


def _directory(path: Path) -> Located:
    models = servable_models([file.name for file in path.iterdir() if file.name.lower().endswith(".gguf")])
    if len(models) == 1:
        return _file(path / models[0])
    if models:
        raise ModelFileInvalid(
            f"{path} holds {len(models)} models: give one of them: {', '.join(models)}", path=str(path), models=models
        )
    if (path / "config.json").is_file() and any(file.suffix in WEIGHTS_SUFFIXES for file in path.iterdir()):
        raise EngineMissing(f"{path} is a Hugging Face directory: {OTHER_ENGINES}", path=str(path))
    raise ModelFileInvalid(f"{path} holds no GGUF file: give a GGUF file, or a directory with one", path=str(path))


def servable_models(names: list[str]) -> list[str]:
    """Return the names that are models by themselves: no projectors, no importance matrices, first parts only."""
    return sorted(
        name
        for name in names
        if name.lower().endswith(".gguf")
        and (part_number(name) or 1) == 1
        and not any(word in name.rsplit("/", 1)[-1].lower() for word in ("mmproj", "imatrix"))
    )


def _looks_like_path(model: str) -> bool:
    """Whether ``model`` can only be meant as a path: ``./x``, ``/x``, ``x.gguf``, or below a directory that exists."""
    if model.startswith((".", "/", "~")) or "\\" in model:
        return True
    if model.lower().endswith(".gguf") and ":" not in model:
        return True
    return "/" in model and ":" not in model and Path(model.split("/", 1)[0]).is_dir()


def _missing(model: str, path: Path) -> ModelFileMissing:
    close = _close_names(path)
    if close:
        way_out = f"did you mean {' or '.join(close)}?"
    else:
        way_out = "give a GGUF file, a directory with one, or a hub id `org/name[:file-or-quant]`"
    return ModelFileMissing(f"{model}: there is no such file; {way_out}", path=model, suggestions=close)


def _close_names(path: Path) -> list[str]:
    """Return names like the last one of ``path`` that do exist beside it."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir() or entry.suffix.lower() == ".gguf"]
    except OSError:
        return []
    return [str(path.with_name(name)) for name in get_close_matches(path.name, names, n=3, cutoff=0.6)]
