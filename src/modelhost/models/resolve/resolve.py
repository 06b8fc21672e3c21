"""From the settings of a model to what an engine can start: its files, its sizes, its place on CPUs and GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psutil

from modelhost.config.settings import Settings
from modelhost.config.value_types import parse_size
from modelhost.engines import ENGINES, TRAITS
from modelhost.engines.base import Engine
from modelhost.engines.installed import kind_of
from modelhost.engines.launch import ModelSpec
from modelhost.engines.special_tokens import ControlTokens, meaningful_names
from modelhost.errors import ConfigError, ModelFileInvalid
from modelhost.exchange.tasks import Task
from modelhost.models.files import directory_needs, special_tokens
from modelhost.models.files.gguf import GgufHeader, read_header
from modelhost.models.files.hf_directory import HfModel
from modelhost.models.files.media_encoder import read_media_encoder
from modelhost.models.files.memory_pools import RAM, Bytes
from modelhost.models.files.model_files import stamps_of
from modelhost.models.files.pipeline import is_pipeline, read_pipeline
from modelhost.models.hub.cache import cached_model, download
from modelhost.models.hub.progress import DownloadProgress
from modelhost.models.hub.repository_files import Format
from modelhost.models.resolve import sizing
from modelhost.models.resolve.companion_files import (
    adapters_of,
    bytes_of,
    draft_of,
    encoder_of,
    files_beside,
    files_of,
    template_files,
    template_of,
)
from modelhost.models.resolve.engine_choice import engine_for_format, engine_of
from modelhost.models.resolve.locate import Located, downloaded_directory, locate
from modelhost.models.resolve.own_layouts import layout_files, layout_need
from modelhost.models.resolve.resolved import Resolved
from modelhost.models.resolve.runtime import Runtime, visible_gpus
from modelhost.plurals import counted
from modelhost.workers.machine import allowed_cores, computing_cores

DTYPES: Final[Mapping[str, str]] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""GGUF's names of number formats, in the words of everybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Capacity:
    """How much a model can hold; ``None`` leaves it to the engine."""

    context_length: int | None
    slots: int | None
    cache_bytes: int | None = None


def resolve(  # noqa: PLR0913 (each is a fact of the model or of the machine)
    settings: Settings,
    *,
    found: Located | None = None,
    runtime: Runtime | None = None,
    gpus: Mapping[int, int] = MappingProxyType({}),
    available_bytes: int | None = None,
    prefers_float16: bool = False,
) -> Resolved:
    """Return the model of ``settings``, which is at ``found`` (default: where :func:`find_files` finds it).

    ``runtime`` is what its worker runs on (default: as the settings have it). ``gpus`` are those that the machine has
    and the engine can use, with the bytes that the model may take of each; ``available_bytes`` is the main memory that
    sizes are decided by (default: what is free now). ``prefers_float16``: where the settings leave the number format to
    the engine, it is float16 if engine and machine can. Blocks: call it in a thread.

    Raises:
        SetupError: the model, a file beside it or a setting is not usable; the message says which and the way out.
    """
    located = found or find_files(settings)
    runtime = runtime or Runtime.of(engine_of(located, settings), settings)
    engine, header, described = runtime.engine, located.header, located.header or located.directory
    usable = visible_gpus(runtime.env, gpus)
    visible = engine.used_gpus(runtime.options, usable)
    if prefers_float16 and located.directory is not None:
        runtime = _with_float16(runtime, located.directory, visible)
    support = TRAITS[engine.name].gpu
    places_layers = support is not None and support.has_layers_placed
    rooms = {gpu: gpus[gpu] for gpu in visible} if places_layers else {}
    memory = _memory_for_sizes(settings, header, rooms, available_bytes)
    spec = _spec(settings, located, runtime, _capacity(settings, located, runtime, visible, memory), visible)
    offload = _offload(spec, located, rooms, engine)
    if offload is not None and rooms:
        layers = offload.layers()
        spec = replace(spec, gpu_layers=layers.count, gpu_split=layers.split)
    size_bytes = _size_bytes(located)
    return Resolved(
        spec=spec,
        engine=engine,
        load_timeout_seconds=settings.load_timeout or sizing.load_timeout_seconds(size_bytes, engine=engine.name),
        size_bytes=size_bytes + bytes_of(files_beside(spec)),
        need_bytes=_need(spec, located, engine.name, visible, offload),
        stamps=stamps_of([*_own_files(located), *files_beside(spec), *template_files(settings.chat_template)]),
        control_tokens=control_tokens(located, settings, engine, spec.chat_template or spec.own_chat_template),
        quantization=described.quantization if described is not None else None,
        dtype=_dtype(located, runtime, visible),
        gpus=usable,
        offload=offload if places_layers else None,
        longest_context=described.context_length if described is not None else None,
        hears_audio=read_media_encoder(spec.mmproj_path).hears if spec.mmproj_path is not None else None,
    )


def _memory_for_sizes(
    settings: Settings, header: GgufHeader | None, rooms: Mapping[int, int], available_bytes: int | None
) -> int:
    """Return the memory that sizes are decided by: of the GPUs with ``rooms`` too, where layers may be placed there."""
    if available_bytes is None:
        available_bytes = psutil.virtual_memory().available
    if header is None or settings.gpu_layers == 0:
        return available_bytes
    return sizing.memory_for_size(header, rooms, available_bytes)


def _spec(
    settings: Settings, located: Located, runtime: Runtime, capacity: _Capacity, gpus: tuple[int, ...]
) -> ModelSpec:
    name, *aliases = settings.alias or (located.name,)
    header, described, traits = located.header, located.header or located.directory, TRAITS[runtime.engine.name]
    task = _own_task(located, runtime.engine)
    return ModelSpec(
        name=name,
        aliases=tuple(aliases),
        path=located.path,
        context_length=capacity.context_length,
        slots=capacity.slots,
        threads=_threads(settings.threads, has_every_core=traits.has_every_core),
        gpu_layers=settings.gpu_layers,
        kv_cache_type=settings.kv_cache_type,
        lora=adapters_of(settings.lora, runtime.engine.name),
        draft_path=draft_of(settings.draft_model),
        mmproj_path=encoder_of(located, settings, has_vision_file=traits.has_vision_file),
        chat_template=template_of(settings.chat_template),
        own_chat_template=described.chat_template if described is not None else None,
        has_chat_template=described is None or described.chat_template is not None,
        special_tokens=settings.special_tokens,
        pooling="rank" if header is not None and header.is_reranker else None,
        embedding_only=(header is not None and header.is_embedding) or task == "embeddings",
        task=task,
        vocab_size=described.vocab_size if described is not None else None,
        cache_bytes=capacity.cache_bytes,
        gpus=gpus,
        max_in_flight=settings.max_in_flight,
        options=runtime.options,
        python=runtime.python,
        has_fallback=runtime.has_fallback,
        env=runtime.env,
        urls=located.urls,
        url_key=settings.remote_api_key.get_secret_value() if settings.remote_api_key else None,
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
    """As :func:`find_files`, but without a download: ``None`` if one is needed."""
    located = locate(settings.model, revision=settings.revision, engine=settings.engine)
    if located.reference is None:
        return located
    path = cached_model(located.reference)
    return None if path is None else _downloaded(located, path)


def _downloaded(located: Located, path: Path) -> Located:
    """Return where the model of the hub is that ``located`` names, now that ``path`` holds it."""
    if path.is_dir():
        return replace(downloaded_directory(path), name=located.name)
    return Located(kind="gguf", name=located.name, path=path, header=read_header(path))


def _capacity(
    settings: Settings, located: Located, runtime: Runtime, gpus: Sequence[int], available_bytes: int
) -> _Capacity:
    """Return the sizes of the settings; what they leave open is decided by the memory, where the files say enough."""
    if _own_task(located, runtime.engine) is not None:
        assert located.directory is not None
        longest = located.directory.context_length
        return _Capacity(context_length=min(filter(None, (settings.context_length, longest)), default=None), slots=1)
    model = (
        located.header
        if located.directory is None
        else _sized_directory(located.directory, located.path, settings, runtime, gpus)
    )
    if model is None:
        return _Capacity(context_length=settings.context_length, slots=settings.slots)
    bound = parse_size(settings.kv_cache_memory).of(available_bytes) if settings.kv_cache_memory else None
    wanted = sizing.RequestedSize(
        context_length=settings.context_length,
        slots=settings.slots,
        max_slots=settings.max_slots,
        kv_cache_type=settings.kv_cache_type,
        cache_bytes=bound,
    )
    size = sizing.size_for(model, wanted, available_bytes=available_bytes)
    cache_bytes = int(model.kv_bytes_per_token(settings.kv_cache_type) * size.context_length * size.slots)
    return _Capacity(context_length=size.context_length, slots=size.slots, cache_bytes=cache_bytes)


def _own_task(located: Located, engine: Engine) -> Task | None:
    """Return the task of a model that writes no text and that ``engine`` serves."""
    own = kind_of(located.directory.families) if located.directory is not None else None
    return own[1] if own is not None and own[0] == engine.name else None


def _with_float16(runtime: Runtime, directory: HfModel, gpus: Sequence[int]) -> Runtime:
    options, engine = runtime.options, runtime.engine.name
    if "dtype" in options or not directory_needs.can_be_float16(
        directory, engine=engine, options=options, on_gpu=bool(gpus)
    ):
        return runtime
    return replace(runtime, options={**options, "dtype": directory_needs.FLOAT16})


def _dtype(located: Located, runtime: Runtime, gpus: Sequence[int]) -> str | None:
    if located.directory is not None:
        engine, options = runtime.engine.name, runtime.options
        return directory_needs.dtype_in_force(located.directory, engine=engine, options=options, on_gpu=bool(gpus))
    return DTYPES.get(located.header.quantization) if located.header is not None else None


def _sized_directory(
    directory: HfModel, path: Path | None, settings: Settings, runtime: Runtime, gpus: Sequence[int]
) -> sizing.SizedModel:
    engine = runtime.engine.name
    if not directory.is_generating:
        if path is not None and is_pipeline(path.parent):
            raise ModelFileInvalid(
                f"{settings.model} is a component of the pipeline {path.parent}, which diffusers serves as a whole"
            )
        raise ModelFileInvalid(
            f"{settings.model} is a {directory.architecture}, which writes no text: {engine} serves models that do; "
            "llama.cpp serves embedding models in GGUF"
        )
    return directory_needs.sized_directory(directory, engine=engine, options=runtime.options, on_gpu=bool(gpus))


def _size_bytes(located: Located) -> int:
    if located.header is not None:
        return located.header.size_bytes
    if located.kind == "layout":
        return 0 if located.path is None else bytes_of(layout_files(located.path))
    return located.directory.weights.size_bytes if located.directory is not None else 0


def _need(spec: ModelSpec, located: Located, engine: str, gpus: Sequence[int], offload: sizing.Offload | None) -> Bytes:
    if located.directory is not None:
        need = directory_needs.directory_need(
            located.directory,
            engine=engine,
            options=spec.options,
            context_length=spec.context_length or 0,
            slots=spec.slots or 1,
            gpus=gpus,
        )
        return Counter(need) + Counter(dict.fromkeys(need.keys() - {RAM} or {RAM}, bytes_of(files_of(spec.lora))))
    if located.kind == "layout" and located.path is not None:
        return layout_need(located.path, engine, spec.options, gpus)
    if located.kind == "layout":
        return {RAM: TRAITS[engine].process_bytes}
    return {} if offload is None else offload.need(offload.layers())


def _offload(spec: ModelSpec, located: Located, rooms: Mapping[int, int], engine: Engine) -> sizing.Offload | None:
    header = located.header
    if header is None:
        return None
    return sizing.Offload(
        header=header,
        rooms=rooms,
        requested_layers=spec.gpu_layers,
        context_length=spec.context_length or header.context_length or 0,
        slots=spec.slots or 1,
        kv_cache_type=spec.kv_cache_type,
        batch_size=engine.step_tokens(spec),
        draft=read_header(spec.draft_path) if spec.draft_path is not None else None,
        encoder_bytes=read_media_encoder(spec.mmproj_path).need_bytes if spec.mmproj_path is not None else 0,
        adapter_bytes=bytes_of(files_of(spec.lora)),
    )


def _own_files(located: Located) -> list[Path]:
    if (located.directory is not None or located.kind == "layout") and located.path is not None:
        inner = read_pipeline(located.path).files if is_pipeline(located.path) else ()
        return [located.path, *located.path.iterdir(), *inner]
    return list(located.header.files) if located.header is not None else []


def _threads(wanted: int | None, *, has_every_core: bool) -> int:
    """Return how many threads compute: one on each core that is good for it, where the engine ``has_every_core``.

    The threads of other engines spin while they wait, in Python or for it: with as many threads as cores they slow each
    other, and the host, to a crawl.
    """
    cores = allowed_cores()
    if wanted is None:
        return computing_cores() if has_every_core else max(1, cores - 1)
    if wanted > cores:
        there = counted(cores, "core")
        raise ConfigError(f"threads: {wanted} is more than the {there} this process may use", param="threads")
    return wanted


def control_tokens(located: Located, settings: Settings, engine: Engine, template: str | None) -> ControlTokens | None:
    """Return those of the model at ``located``, whose prompts ``template`` makes; ``None`` if there are none.

    Raises:
        ModelFileInvalid: a file of its vocabulary is damaged.
    """
    if settings.special_tokens == "raw" or _own_task(located, engine) is not None:
        return None
    found = meaningful_names(_in_files(located), template) if engine.parses_special_tokens else ()
    names = (*settings.special_token_list, *found)
    return ControlTokens(names) if names else None


def _in_files(located: Located) -> Mapping[str, bool]:
    if located.header is not None:
        return special_tokens.gguf_special_tokens(located.header.files[0])
    if located.directory is not None and located.path is not None:
        return special_tokens.directory_special_tokens(located.path)
    return {}
