"""From the settings of a model to what an engine can start: files on this machine, and every size decided."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psutil

from modelhost.config.directories import data_directory
from modelhost.config.home import at_home
from modelhost.config.settings import Settings
from modelhost.config.sizes import parse_size
from modelhost.engines import ENGINES, TRAITS
from modelhost.engines.base import Engine
from modelhost.engines.installed import environment_of, missing_modules
from modelhost.engines.launch import ModelSpec
from modelhost.engines.prompting import STOPS, bundled_template
from modelhost.engines.special_tokens import ControlTokens
from modelhost.errors import ConfigError, ModelFileInvalid, ModelFileMissing
from modelhost.models.choosing import engine_for, engine_for_format
from modelhost.models.directory_dtype import FLOAT16, can_be_float16, dtype_in_force
from modelhost.models.directory_needs import directory_need, sized
from modelhost.models.download import DownloadProgress, cached_model, download
from modelhost.models.file_stamps import Stamps, stamps_of
from modelhost.models.files_beside import adapters_of, existing, files_of
from modelhost.models.gguf import read_header
from modelhost.models.hf_directory import HfModel
from modelhost.models.hub_files import Format
from modelhost.models.locate import Located, locate, located_directory
from modelhost.models.offloading import Offload, memory_for_size
from modelhost.models.planner import MODELS
from modelhost.models.registry_paths import is_template_text, names_shipped_template
from modelhost.models.sizing import Size, Sized, Wanted, load_timeout_seconds, size_for
from modelhost.models.special_tokens import control_tokens
from modelhost.models.states import RAM, Bytes
from modelhost.models.unused_gpu import UnusedGpu
from modelhost.models.vision_encoder import WITHOUT, encoder_for, read_vision_encoder
from modelhost.workers.cores import allowed_cores, computing_cores

DTYPES: Final[Mapping[str, str]] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""GGUF's names of number formats, in the words of everybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A model that can be started."""

    spec: ModelSpec
    engine: Engine
    load_timeout_seconds: float
    size_bytes: int = 0
    """All files of the model together, with those beside it (draft model, adapters)."""
    need_bytes: Bytes = field(default_factory=dict)
    """What it is estimated to take of each pool; empty if its engine needs no files."""
    stamps: Stamps = field(default_factory=dict)
    """Of all files that were read for it."""
    control_tokens: ControlTokens | None = None
    """What the host neutralises in the contents of its chats; ``None``: nothing."""
    quantization: str | None = None
    """Of its files: `Q4_K_M`, `awq-4bit`, `F16`; ``None`` without files."""
    dtype: str | None = None
    """The number format in force: of a GGUF file its own, unless it is quantized; ``None``: the engine decides."""
    gpus: tuple[int, ...] = ()
    """Those that a worker of it could use; its options may leave it fewer."""
    offload: Offload | None = None
    """How it can be laid out over GPUs; ``None`` if that is its engine's business."""
    unused_gpu: UnusedGpu | None = None
    """Beside which it is computed on the CPU, though nobody wants that."""
    longest_context: int | None = None
    """Tokens that the model was made for; ``None`` if its files do not say."""

    @property
    def charge(self) -> Bytes:
        """What it is counted with against the budget: a model elsewhere is not one of those that are loaded here."""
        return {**self.need_bytes, MODELS: 0} if self.spec.urls else self.need_bytes

    @property
    def is_fitted_to_gpus(self) -> bool:
        """Whether as much of it goes to the GPUs that the host sees as they have room for."""
        return self.offload is not None and self.offload.asked is None and bool(self.offload.rooms)

    @property
    def is_partly_on_gpus(self) -> bool:
        """Whether they would have more of it if they had more room."""
        return self.is_fitted_to_gpus and self.offload is not None and sum(self.spec.gpu_split) < self.offload.total


def resolve(
    settings: Settings,
    *,
    found: Located | None = None,
    gpus: Mapping[int, int] = MappingProxyType({}),
    available_bytes: int | None = None,
    prefers_float16: bool = False,
) -> Resolved:
    """Return the model of ``settings``, which is at ``found``, as :func:`find_files` said (default: it is asked now).

    ``gpus`` are those that the machine has and the engine can use, with the bytes that the model may take of each;
    ``available_bytes`` is the main memory that sizes are decided by (default: what is free now). ``prefers_float16``:
    where the settings leave the number format to the engine, it is float16 if engine and machine can. Blocks: call it
    in a thread.

    Raises:
        SetupError: the model, a file beside it or a setting is not usable; the message says which and the way out.
    """
    located = found or find_files(settings)
    engine = engine_of(located, settings)
    names = settings.alias or (located.name,)
    header, directory = located.header, located.directory
    env = {name: value.get_secret_value() for name, value in settings.worker_env.items()}
    traits = TRAITS[engine.name]
    usable = visible_gpus(env, gpus)
    visible = engine.used_gpus(settings.engine_options, usable)
    if prefers_float16 and directory is not None:
        settings = _with_float16(settings, directory, engine.name, visible)
    has_layers_placed = traits.gpu is not None and traits.gpu.has_layers_placed
    rooms = {gpu: gpus[gpu] for gpu in visible} if has_layers_placed else {}
    context_length, slots, cache_bytes = settings.context_length, settings.slots, None
    model = header if directory is None else _sized_directory(directory, engine.name, settings, visible)
    if model is not None:
        available = psutil.virtual_memory().available if available_bytes is None else available_bytes
        if header is not None and settings.gpu_layers != 0:
            available = memory_for_size(header, rooms, available)
        size = _size(model, settings, available)
        context_length, slots = size.context_length, size.slots
        cache_bytes = int(model.kv_bytes_per_token(settings.kv_cache_type) * context_length * slots)
    described = header or directory
    spec = ModelSpec(
        name=names[0],
        aliases=tuple(names[1:]),
        path=located.path,
        context_length=context_length,
        slots=slots,
        threads=_threads(settings.threads, has_every_core=traits.has_every_core),
        gpu_layers=settings.gpu_layers,
        kv_cache_type=settings.kv_cache_type,
        lora=adapters_of(settings.lora, engine.name),
        draft_path=_draft(settings.draft_model),
        mmproj_path=_encoder(located, settings, has_vision_file=traits.has_vision_file),
        chat_template=_template(settings.chat_template),
        own_chat_template=described.chat_template if described is not None else None,
        has_chat_template=described is None or described.chat_template is not None,
        special_tokens=settings.special_tokens,
        pooling="rank" if header is not None and header.is_reranker else None,
        embedding_only=header is not None and header.is_embedding,
        vocab_size=described.vocab_size if described is not None else None,
        cache_bytes=cache_bytes,
        gpus=visible,
        max_in_flight=settings.max_in_flight,
        options=engine.complete_options(settings.engine_options),
        python=worker_python(engine, settings),
        has_fallback=has_fallback(engine, settings),
        env=env,
        urls=located.urls,
        url_key=settings.remote_api_key.get_secret_value() if settings.remote_api_key else None,
    )
    size_bytes = header.size_bytes if header is not None else directory.weights.size_bytes if directory else 0
    offload = _offload(spec, located, rooms, engine)
    if offload is not None and rooms:
        layers = offload.layers()
        spec = replace(spec, gpu_layers=layers.count, gpu_split=layers.split)
    return Resolved(
        spec=spec,
        engine=engine,
        load_timeout_seconds=settings.load_timeout or load_timeout_seconds(size_bytes, engine=engine.name),
        size_bytes=size_bytes + _bytes_of(_beside(spec)),
        need_bytes=_need(spec, located, engine.name, visible, offload),
        stamps=stamps_of([*_own_files(located), *_beside(spec), *_template_file(settings.chat_template)]),
        control_tokens=control_tokens(located, settings, engine, spec.chat_template or spec.own_chat_template),
        quantization=described.quantization if described is not None else None,
        dtype=_dtype(located, engine.name, settings, visible),
        gpus=usable,
        offload=offload if has_layers_placed else None,
        longest_context=described.context_length if described is not None else None,
    )


def find_files(
    settings: Settings, on_download: DownloadProgress | None = None, accept: Callable[[Engine], object] | None = None
) -> Located:
    """Return where the model of ``settings`` is on this machine, downloaded if it was not here. Blocks.

    A model that no engine here reads is not downloaded; nor is one of whose engine ``accept`` raises something.

    Raises:
        SetupError: it is not there, or cannot be had.
    """
    located = locate(settings.model, revision=settings.revision, engine=settings.engine)
    if located.reference is None:
        return located
    repository = located.reference.repository

    def check_engine(model_format: Format) -> None:
        engine = ENGINES[engine_for_format(model_format, settings, what=repository)]
        if accept is not None:
            accept(engine)

    return _downloaded(located, download(located.reference, progress=on_download, on_format=check_engine))


def files_here(settings: Settings) -> Located | None:
    """As :func:`find_files`, without a download: ``None`` where that would be needed."""
    located = locate(settings.model, revision=settings.revision, engine=settings.engine)
    if located.reference is None:
        return located
    path = cached_model(located.reference)
    return None if path is None else _downloaded(located, path)


def _downloaded(located: Located, path: Path) -> Located:
    """Return where the model of the hub is that ``located`` names, now that ``path`` holds it."""
    if path.is_dir():
        return replace(located_directory(path), name=located.name)
    return Located(kind="gguf", name=located.name, path=path, header=read_header(path))


def engine_of(located: Located, settings: Settings) -> Engine:
    """Return the engine of a model that is here, as :func:`engine_for` chooses it."""
    return ENGINES[engine_for(located, settings)].for_model(settings.engine_options)


def worker_python(engine: Engine, settings: Settings) -> str | None:
    """Return the Python that runs ``engine``: as the settings say, or that of its own environment; else the host's.

    Raises:
        ConfigError: as :meth:`Engine.complete_options` does.
    """
    if settings.worker_python is not None:
        return settings.worker_python
    python = _own_environment(engine, settings)
    return None if python is None else str(python)


def has_fallback(engine: Engine, settings: Settings) -> bool:
    """Whether :func:`worker_python` is that of a build for which the host's own Python can stand in."""
    is_build = settings.worker_python is None and _own_environment(engine, settings) is not None
    return is_build and not missing_modules(engine.name)


def _own_environment(engine: Engine, settings: Settings) -> Path | None:
    # A program of the user's is no part of an environment, and needs nothing of one.
    program = engine.program(engine.complete_options(settings.engine_options))
    return environment_of(engine.name, data_directory(settings)) if program is None else None


def visible_gpus(env: Mapping[str, str], gpus: Iterable[int]) -> tuple[int, ...]:
    """Return those of ``gpus`` that a worker with ``env`` sees: all, unless CUDA is told which."""
    named = env.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return tuple(gpus)
    visible = {int(part) for part in named.split(",") if part.strip().isdigit()}
    return tuple(gpu for gpu in gpus if gpu in visible)


def _size(model: Sized, settings: Settings, available_bytes: int) -> Size:
    bound = parse_size(settings.kv_cache_memory).of(available_bytes) if settings.kv_cache_memory else None
    wanted = Wanted(
        context_length=settings.context_length,
        slots=settings.slots,
        max_slots=settings.max_slots,
        kv_cache_type=settings.kv_cache_type,
        cache_bytes=bound,
    )
    return size_for(model, wanted, available_bytes=available_bytes)


def _with_float16(settings: Settings, directory: HfModel, engine: str, gpus: Sequence[int]) -> Settings:
    options = settings.engine_options
    if "dtype" in options or not can_be_float16(directory, engine=engine, options=options, on_gpu=bool(gpus)):
        return settings
    return settings.model_copy(update={"engine_options": {**options, "dtype": FLOAT16}})


def _dtype(located: Located, engine: str, settings: Settings, gpus: Sequence[int]) -> str | None:
    if located.directory is not None:
        options = settings.engine_options
        return dtype_in_force(located.directory, engine=engine, options=options, on_gpu=bool(gpus))
    return DTYPES.get(located.header.quantization) if located.header is not None else None


def _sized_directory(directory: HfModel, engine: str, settings: Settings, gpus: Sequence[int]) -> Sized:
    if not directory.is_generating:
        raise ModelFileInvalid(
            f"{settings.model} is a {directory.architecture}, which writes no text: {engine} serves models that do; "
            "llama.cpp serves embedding models in GGUF"
        )
    return sized(directory, engine=engine, options=settings.engine_options, on_gpu=bool(gpus))


def _need(spec: ModelSpec, located: Located, engine: str, gpus: Sequence[int], offload: Offload | None) -> Bytes:
    if located.directory is not None:
        need = directory_need(
            located.directory,
            engine=engine,
            options=spec.options,
            context_length=spec.context_length or 0,
            slots=spec.slots or 1,
            gpus=gpus,
        )
        return Counter(need) + Counter(dict.fromkeys(need.keys() - {RAM} or {RAM}, _bytes_of(files_of(spec.lora))))
    return {} if offload is None else offload.need(offload.layers())


def _offload(spec: ModelSpec, located: Located, rooms: Mapping[int, int], engine: Engine) -> Offload | None:
    """Return how a model in GGUF can be laid out, with what belongs to it."""
    header = located.header
    if header is None:
        return None
    return Offload(
        header=header,
        rooms=rooms,
        asked=spec.gpu_layers,
        context_length=spec.context_length or header.context_length or 0,
        slots=spec.slots or 1,
        kv_cache_type=spec.kv_cache_type,
        batch_size=engine.step_tokens(spec),
        draft=read_header(spec.draft_path) if spec.draft_path is not None else None,
        encoder_bytes=read_vision_encoder(spec.mmproj_path).need_bytes if spec.mmproj_path is not None else 0,
        adapter_bytes=_bytes_of(files_of(spec.lora)),
    )


def _own_files(located: Located) -> list[Path]:
    if located.directory is not None and located.path is not None:
        return [located.path, *located.path.iterdir()]
    return list(located.header.files) if located.header is not None else []


def _beside(spec: ModelSpec) -> list[Path]:
    return [*files_of(spec.lora), *filter(None, (spec.draft_path, spec.mmproj_path))]


def _bytes_of(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _threads(wanted: int | None, *, has_every_core: bool) -> int:
    """Return how many threads compute: one on each core that is good for it, where the engine ``has_every_core``.

    The threads of other engines spin while they wait, in Python or for it: with as many threads as cores they slow each
    other, and the host, to a crawl.
    """
    cores = allowed_cores()
    if wanted is None:
        return computing_cores() if has_every_core else max(1, cores - 1)
    if wanted > cores:
        raise ConfigError(f"threads: {wanted} is more than the {cores} cores this process may use", param="threads")
    return wanted


def _draft(model: str | None) -> Path | None:
    if model is None:
        return None
    path = existing("draft_model", model)
    read_header(path)
    return path


def _encoder(located: Located, settings: Settings, *, has_vision_file: bool) -> Path | None:
    """Return the vision encoder; where it is no file of its own, only one that is named, which the engine refuses."""
    named = None if settings.mmproj in (None, WITHOUT) else existing("mmproj", settings.mmproj)
    if not has_vision_file or located.header is None or located.path is None:
        return named
    return encoder_for(located.path, located.header, settings.mmproj)


def _template(value: str | None) -> str | None:
    """Return the template's text: what has Jinja in it is the text itself, all else names a file, or one of ours."""
    if value is not None and names_shipped_template(value, at_home(value)):
        return bundled_template(value)
    files = _template_file(value)
    try:
        return files[0].read_text(encoding="utf-8-sig") if files else value
    except UnicodeDecodeError as error:
        raise ConfigError(f"chat_template: {value} is not UTF-8 text: {error}", param="chat_template") from None


def _template_file(value: str | None) -> list[Path]:
    if value is None or is_template_text(value) or names_shipped_template(value, at_home(value)):
        return []
    try:
        return [existing("chat_template", value)]
    except ModelFileMissing as error:
        close = difflib.get_close_matches(Path(value).name, STOPS, n=1)
        hint = f' (did you mean "{close[0]}"?)' if close else ""
        message = f"{error.message}{hint}; templates that come with modelhost: {', '.join(STOPS)}"
        raise ModelFileMissing(message, path=value, suggestions=close) from None
