"""Models that clients have made of others, as they are stored in the data directory, and the entries they become.

Each is a file of JSON in ``models/created``. The files that were uploaded for it are in ``models/blobs``
(:mod:`modelhost.models.files.blobs`); models of the hub stay in the hub's cache, and those of the host where they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelhost.config.settings import Settings
from modelhost.engines.installed import default_engine
from modelhost.errors import InvalidRequest, ModelFileInvalid, ModelFileMissing
from modelhost.exchange.messages import messages_of
from modelhost.models.files.blobs import BlobStore
from modelhost.models.files.durable import write_atomically
from modelhost.models.files.gguf import read_header, read_values
from modelhost.models.files.media_encoder import ARCHITECTURE, read_media_encoder
from modelhost.models.hub.references import parse_reference
from modelhost.models.registry.admission import Admission
from modelhost.models.registry.entry import ModelEntry, Preset, checked_settings
from modelhost.models.registry.likely_engine import provisional_engine
from modelhost.models.registry.request_defaults import default_problems

T = TypeVar("T")
Kind = Literal["created", "copied", "pulled"]
FOLDER: Final = "models"
"""In the data directory."""
LONGEST_NAME: Final = 256
CHANGED: Final = ("context_length", "gpu_layers", "threads", "chat_template")
"""Settings that a model may have otherwise than the one that it was made of."""


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Source(_Stored):
    """What a model was made of: one of these."""

    model: str | None = None
    """One of the host's own: of its settings or its registry."""
    hub: str | None = None
    """One of the hub."""
    path: str | None = None
    """A file or a directory of this machine."""
    blob: str | None = None
    """A file that was uploaded, by its digest."""

    @model_validator(mode="after")
    def _is_one(self) -> Source:
        if len(self.model_fields_set) != 1:
            raise ValueError("it is one of model, hub, path and blob")
        return self


class CreatedModel(_Stored):
    """A model that a client has made. Digests name files that were uploaded."""

    format: Literal[1] = 1
    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    kind: Kind = "created"
    created_at: float
    source: Source
    parent: str | None = None
    """The model of the host that it was created from, which may itself have been created: ``source`` is what it is
    made of."""
    projector: str | None = None
    """Its vision encoder."""
    adapters: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """LoRA adapters, which are applied to every answer."""
    settings: dict[str, Any] = {}
    """Those of :data:`CHANGED` that differ from those of its source."""
    defaults: dict[str, Any] = {}
    """The values that its requests get where they are silent, besides those of its source."""
    system: str | None = None
    messages: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()
    licenses: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @property
    def blobs(self) -> frozenset[str]:
        return frozenset(filter(None, (self.source.blob, self.projector, *self.adapters)))


class CreatedStore:
    """The stored models below ``data_dir``. Everything blocks."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER / "created"
        self.blobs = BlobStore(data_dir / FOLDER / "blobs")

    def read(self) -> Iterator[CreatedModel | ModelFileInvalid]:
        """Yield all of them, by the time of their making; an error for each file that cannot be used."""
        found: list[CreatedModel] = []
        for path in sorted(self._folder.glob("[!.]*.json")):
            try:
                found.append(CreatedModel.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError) as error:
                yield ModelFileInvalid(f"{path} describes no model: {error}", path=str(path))
        yield from sorted(found, key=lambda record: (record.created_at, record.name))

    def used_blobs(self) -> frozenset[str] | None:
        """Return the digests of all files that stored models use, those of other hosts with the same data too.

        ``None``: that is not known, since a stored model cannot be read.
        """
        used: set[str] = set()
        for found in self.read():
            if isinstance(found, ModelFileInvalid):
                return None
            used |= found.blobs
        return frozenset(used)

    def write(self, record: CreatedModel) -> None:
        """Store a model, in the place of one of its name; it survives whatever happens next.

        Raises:
            DiskFull: there is no room for it.
        """
        write_atomically(self._path(record.name), record.model_dump_json(exclude_defaults=True).encode())

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def source_of(entry: ModelEntry) -> Source:
    """Return the source that is the model of ``entry``, one that a client has added to the host."""
    model = entry.settings.model or ""
    if Path(model).is_absolute():
        return Source(path=model)
    reference = parse_reference(model, entry.settings.revision)
    assert reference is not None  # clients add models of the hub and paths
    return Source(hub=reference.id)


def built_entry(
    record: CreatedModel, settings: Settings, blobs: BlobStore, known: Mapping[str, ModelEntry]
) -> ModelEntry:
    """Return the entry of ``record`` beside ``settings``; ``known`` are the entries of the host's own models.

    Raises:
        ModelFileMissing: its source, or a file of it, is no longer there.
        ModelFileInvalid: a file is not what it is used for.
        InvalidRequest: a setting or a default is not for it.
    """
    base = _base(record, settings, blobs, known)
    changed = checked_settings(record.settings, CHANGED, "")
    adapters = tuple(str(_adapter(blobs, digest)) for digest in record.adapters)
    own = {**changed.settings, "alias": (record.name,), "lora": (*base.settings.lora, *adapters)}
    if record.projector is not None:
        own["mmproj"] = str(_read(blobs, record.projector, read_media_encoder).path)
    entry = replace(
        base,
        name=record.name,
        aliases=(),
        settings=base.settings.model_copy(update=own),
        defaults={**base.defaults, **record.defaults},
        is_pinned=False,
        notes=None,
        preset=Preset(system=record.system, messages=messages_of(record.messages)),
    )
    problems = [*changed.problems, *default_problems(record.defaults, provisional_engine(entry.settings))]
    if problems:
        raise InvalidRequest(f"{record.name} cannot be made: {'; '.join(problems)}.")
    return entry


def _base(record: CreatedModel, settings: Settings, blobs: BlobStore, known: Mapping[str, ModelEntry]) -> ModelEntry:
    source = record.source
    if source.model is not None:
        if source.model not in known:
            raise ModelFileMissing(
                f"{record.name} was made of {source.model}, which is no longer one of the models of this host"
            )
        return known[source.model]
    if source.hub is not None:
        reference = parse_reference(source.hub)
        if reference is None:
            raise ModelFileInvalid(f"{record.name} was made of {source.hub}, which is no id of the hub")
        return Admission.of_hub(reference, settings)
    if source.path is not None:
        return Admission.of_path(source.path, settings)
    assert source.blob is not None
    _read(blobs, source.blob, read_header)
    return Admission.of_path(str(blobs.path(source.blob)), settings, engine=default_engine("gguf"))


def _read(blobs: BlobStore, digest: str, read: Callable[[Path], T]) -> T:
    """Return what ``read`` finds in an uploaded file; errors name its digest, and not its place."""
    path = blobs.path(digest)
    if not path.is_file():
        raise ModelFileMissing(f"There is no file {digest} here: upload it first.", path=digest)
    try:
        return read(path)
    except ModelFileInvalid as error:
        raise ModelFileInvalid(error.message.replace(str(path), digest), path=digest) from error


def _adapter(blobs: BlobStore, digest: str) -> Path:
    values, _ = _read(blobs, digest, read_values)
    if values.get("adapter.type") != "lora":
        raise ModelFileInvalid(
            f"{digest} is GGUF, but no LoRA adapter: llama.cpp's convert_lora_to_gguf.py makes one", path=digest
        )
    return blobs.path(digest)


def is_projector(blobs: BlobStore, digest: str) -> bool:
    """Whether the uploaded file ``digest`` is a vision encoder; raises as :func:`built_entry` if it is no GGUF."""
    values, _ = _read(blobs, digest, read_values)
    return values.get("general.architecture") == ARCHITECTURE
