"""The models that clients make of others: stored, added to those of a host, and there again when it has restarted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from modelhost.config.directories import data_directory
from modelhost.config.settings import Settings
from modelhost.errors import ConfigError, InvalidRequest, ModelFileInvalid, ModelhostError
from modelhost.logs import get_logger
from modelhost.models.hub.progress import DownloadProgress
from modelhost.models.registry.admission import not_found
from modelhost.models.registry.created import CreatedModel, CreatedStore, Source, built_entry, is_projector, source_of
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.residency.added import AddedModels
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.scheduler import Scheduler
from modelhost.models.residency.status import PulledModel

log = get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """A model to make. What is ``None`` or empty is as it is of the source."""

    name: str
    source: str | None = None
    """The main name of a model of the host; ``None``: the model is one of ``files``."""
    files: tuple[str, ...] = ()
    """The digests of uploaded files: a model in GGUF, and possibly its vision encoder."""
    adapters: tuple[str, ...] = ()
    """The digests of LoRA adapters, which are applied besides those of the source."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    system: str | None = None
    messages: tuple[Mapping[str, Any], ...] = ()
    licenses: tuple[str, ...] = ()


class CreatedModels:
    """Makes, copies and deletes models; what is stored is changed by one call at a time.

    ``on_removed`` is called when a model was removed.
    """

    def __init__(
        self, scheduler: Scheduler, settings: Settings, added: AddedModels, on_removed: Callable[[], None]
    ) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._added = added
        self._on_removed = on_removed
        self._records: dict[str, CreatedModel] = {}
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[Any]] = set()

    @property
    def records(self) -> Mapping[str, CreatedModel]:
        """All of them by name; one whose source is gone is not among the models of the host."""
        return self._records

    @property
    def store(self) -> CreatedStore:
        """Where they are stored; raises ConfigError if there is no place for that."""
        return CreatedStore(data_directory(self._settings))

    async def restore(self) -> None:
        """Read what is stored, and add it to the models of the host, unless these may have no others.

        What cannot be used is logged, and stays stored.
        """
        if self._added.admission.policy == "registry":
            return
        try:
            store = self.store
        except ConfigError:
            return  # a host without a place for data has stored nothing
        async with self._changing:
            for found in await asyncio.to_thread(lambda: list(store.read())):
                if isinstance(found, ModelFileInvalid):
                    log.error("created_model_unreadable", reason=found.message)
                else:
                    self._records[found.name] = found
            await asyncio.to_thread(self.prune)
        await self.refresh()

    async def refresh(self) -> None:
        """Have the host serve what is stored as its own models are now; their names win over stored ones."""
        for record in tuple(self._records.values()):
            try:
                if self._is_own(record.name):
                    raise InvalidRequest("The host has a model of its own of that name.")
                entry = await asyncio.to_thread(self._built, record, self._own_entries())
            except (ModelhostError, OSError) as error:
                log.warning("created_model_unusable", model=record.name, reason=str(error))
                if record.source.model is not None and record.name in self._added.entries:
                    self._added.remove(record.name)  # its source was taken away
                    self._on_removed()
                continue
            if self._records.get(record.name) is record and not self._is_own(record.name):
                self._added.put(entry)

    async def create(self, new: NewModel) -> HostedModel:
        """Make a model, in the place of a made one of its name, and return it.

        Raises:
            ModelNotAllowed: the host may have no other models.
            InvalidRequest: the name is that of a model of the host's own, or a value is not for this model.
            ModelFileMissing, ModelFileInvalid: a file was not uploaded, or is not what it is used for.
            DiskFull: there is no room to store it.
        """
        return await self._whole(self._create(new))

    async def _create(self, new: NewModel) -> HostedModel:
        async with self._changing:
            self._check_name(new.name)
            return await self._keep(await asyncio.to_thread(self._made, new))

    async def copy(self, source: HostedModel, name: str) -> HostedModel:
        """Make a model like ``source``; raises as :meth:`create`."""
        return await self._whole(self._copy(source, name))

    async def _copy(self, source: HostedModel, name: str) -> HostedModel:
        async with self._changing:
            self._check_name(name)
            begun = self._begun(source.name)
            record = begun.model_copy(update={"name": name, "kind": "copied", "created_at": time.time()})
            return await self._keep(record)

    async def pull(self, name: str, reference: str, *, on_progress: DownloadProgress) -> PulledModel:
        """Download a model of the hub as :meth:`AddedModels.pull` does; one that is added, as ``name``, is stored.

        Raises:
            ModelhostError: as :meth:`AddedModels.pull`; InvalidRequest and DiskFull as :meth:`create`.
        """
        self._check_name(name)
        pulled = await self._added.pull(reference, revision=None, on_progress=on_progress, name=name)
        entry = self._added.entries.get(pulled.name)
        if entry is not None and pulled.name not in self._records:
            async with self._changing:
                source = source_of(entry)
                await self._keep(CreatedModel(name=pulled.name, kind="pulled", created_at=time.time(), source=source))
        return pulled

    async def delete(self, name: str) -> None:
        """Delete a made model, and its files that no other uses; it is gone after its last request.

        Raises:
            ModelNotAllowed: as :meth:`create`.
            ModelNotFound: there is none of that name.
            InvalidRequest: it is one of the host's own.
        """
        await self._whole(self._delete(name))

    async def _delete(self, name: str) -> None:
        async with self._changing:
            self.check_changes(name)
            record = self._records.get(name)
            if record is None:
                self._refuse_to_delete(name)
                return
            await asyncio.to_thread(self.store.remove, name)
            del self._records[name]
            if name in self._added.entries:
                self._added.remove(name)
            self._on_removed()
            log.info("model_deleted", model=name)
            await asyncio.to_thread(self._remove_unused, record.blobs)

    def check_changes(self, name: str) -> None:
        """Check that clients may make models, such as ``name``; raises ModelNotAllowed."""
        self._added.admission.check_changes(name)

    def prune(self) -> None:
        """Remove uploaded files that no model uses, once they are old. Blocks."""
        store = self.store
        if (used := store.used_blobs()) is not None:
            store.blobs.prune(used)

    async def _whole(self, change: Coroutine[Any, Any, T]) -> T:
        """Await ``change``, which goes on to its end if its client leaves: disk and memory have to agree."""
        task = asyncio.create_task(change, name="changing the created models")
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    def _refuse_to_delete(self, name: str) -> None:
        if name not in self._scheduler.names:
            raise not_found(name, self._scheduler.names)
        raise InvalidRequest(
            f"{name} was not created, copied or pulled by a client, so clients cannot delete it: it is one of the "
            "settings or of the models.yaml of this host, or was loaded from the hub for as long as the host runs.",
            param="model",
        )

    def _check_name(self, name: str) -> None:
        self._added.admission.check_changes(name)
        if self._is_own(name):
            raise InvalidRequest(f"{name} is one of the host's own models: choose another name.", param="model")

    def _is_own(self, name: str) -> bool:
        """Whether a model that no client has added has that name, be it with an adapter."""
        hosted = self._scheduler.names.get(name)
        if hosted is not None:
            return hosted.name not in self._added.entries or hosted.name != name
        model, _, adapter = name.rpartition(":")
        of_adapter = self._scheduler.names.get(model)
        return of_adapter is not None and adapter in of_adapter.adapter_names

    def _own_entries(self) -> dict[str, ModelEntry]:
        models = dict.fromkeys(self._scheduler.names.values())
        return {model.name: model.entry for model in models if model.name not in self._added.entries}

    def _built(self, record: CreatedModel, known: Mapping[str, ModelEntry]) -> ModelEntry:
        return built_entry(record, self._settings, self.store.blobs, known)

    async def _keep(self, record: CreatedModel) -> HostedModel:
        entry = await asyncio.to_thread(self._built, record, self._own_entries())
        await asyncio.to_thread(self.store.write, record)
        replaced = self._records.get(record.name)
        self._records[record.name] = record
        log.info("model_stored", model=record.name, kind=record.kind)
        model = self._added.put(entry)
        if replaced is not None:
            await asyncio.to_thread(self._remove_unused, replaced.blobs)
        return model

    def _made(self, new: NewModel) -> CreatedModel:
        begun = self._begun(new.source) if new.source is not None else self._of_files(new)
        changed: dict[str, Any] = {
            "name": new.name,
            "kind": "created",
            "created_at": time.time(),
            "parent": new.source,
            "adapters": (*begun.adapters, *new.adapters),
            "settings": {**begun.settings, **new.settings},
            "defaults": {**begun.defaults, **new.defaults},
            "system": begun.system if new.system is None else new.system or None,
            "messages": tuple(map(dict, new.messages)) or begun.messages,
            "licenses": new.licenses or begun.licenses,
        }
        return begun.model_copy(update=changed)

    def _begun(self, source: str) -> CreatedModel:
        """Return a record like the model of the host called ``source``."""
        if (record := self._records.get(source)) is not None:
            return record
        added = self._added.entries.get(source)
        made_of = Source(model=source) if added is None else source_of(added)
        return CreatedModel(name=source, created_at=0, source=made_of)

    def _of_files(self, new: NewModel) -> CreatedModel:
        projectors = [digest for digest in new.files if is_projector(self.store.blobs, digest)]
        models = [digest for digest in new.files if digest not in projectors]
        if len(models) != 1 or len(projectors) > 1:
            raise InvalidRequest(
                "files: a model is made of one GGUF file, and of one with its vision encoder if it has one; merge the "
                "parts of a split model with llama-gguf-split --merge.",
                param="files",
            )
        projector = projectors[0] if projectors else None
        return CreatedModel(name=new.name, created_at=0, source=Source(blob=models[0]), projector=projector)

    def _remove_unused(self, digests: frozenset[str]) -> None:
        store = self.store
        if (used := store.used_blobs()) is not None:
            store.blobs.remove(digests - used)
