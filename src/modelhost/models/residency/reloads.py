"""Reloads: models that are loaded again with another configuration of their workers.

A configuration is checked as a whole while the model goes on serving. Then the model gets it, and the ledger does the
rest: requests in flight finish, none is started, the worker is replaced. If the new worker does not become ready, the
model gets its earlier configuration back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from modelhost.engines.load_config import NO_CHANGE, LoadConfig
from modelhost.errors import InvalidRequest
from modelhost.models.files.memory_pools import RAM
from modelhost.models.residency import refusals
from modelhost.models.residency.effects import Effect, ReloadFinished, Stop
from modelhost.models.residency.hosted import Configuration, HostedModel, Reload
from modelhost.models.residency.ledger import Ledger
from modelhost.models.resolve.configuration import ConfigurationContext, ConfiguredModel, FindModel, find_configured
from modelhost.models.resolve.resolved import Resolved, within_limit

IN_BETWEEN: Final = "changed"
"""The reason of a stop that is followed by another worker: the configuration is kept."""


class Reloads:
    """Gives models their configurations: the part of the scheduler that writes them to :class:`HostedModel`.

    ``act`` takes what the ledger answers.
    """

    def __init__(
        self,
        ledger: Ledger,
        models: Mapping[str, HostedModel],
        act: Callable[[Iterable[Effect]], None],
        find: FindModel,
        is_current: Callable[[Resolved], Awaitable[bool]],
    ) -> None:
        self._ledger = ledger
        self._models = models
        self._act = act
        self._find = find
        self._is_current = is_current
        self._loop = asyncio.get_running_loop()

    async def begin(self, model: HostedModel, requested: LoadConfig, *, persists: bool, force: bool) -> Reload | None:
        """Have a model loaded with ``requested``, over its default configuration; ``None`` if it is loaded so already.

        Returns once all is checked. ``persists``: it stays for the loads to come. ``force`` cuts off what is at work.

        Raises:
            InvalidRequest, UnsupportedParameter: as :func:`find_configured`.
            InsufficientMemory: it cannot fit, whatever is unloaded.
            ModelNotFound: it was taken out of the registry meanwhile.
        """
        if persists and not requested.given:
            raise InvalidRequest("persist: name the configuration that is to stay.", param="persist")
        config = self._without_what_holds(model, requested.over(model.default_config))
        if config == model.config and self._has_length(model, config):
            return self._joined(model, config, persists=persists, force=force)
        found = await self._found(model, config)
        if found is None:  # it is looked up by the load
            return self._reload(model, config, None, persists=persists, force=force)
        if found.overlay == model.overlay and model.resolved is not None and self._has_length(model, config):
            model.config, model.overlay = config, found.overlay
            return self._joined(model, config, persists=persists, force=force)
        shortage = self._ledger.occupancy.shortage(self._ledger.record(model.name), found.resolved.charge)
        if shortage is not None:
            raise shortage
        return self._reload(model, config, found, persists=persists, force=force)

    def settle(self, model: HostedModel, settled: ReloadFinished) -> None:
        """Note that an attempt is over."""
        reload, model.reload = model.reload, None
        if reload is None:
            return
        reload.is_over, reload.error = True, settled.error
        model.reload_error = settled.error if settled.has_failed else None
        if settled.error is None:
            model.default_config = model.config if reload.persists else model.default_config
            return
        before, model.is_just_found = reload.before, False
        model.config, model.overlay, model.resolved = before.config, before.overlay, before.resolved

    def stopping(self, model: HostedModel, stop: Stop) -> None:
        """Note that the worker is stopped; a temporary configuration ends with it, unless another worker follows."""
        if stop.reason == IN_BETWEEN or model.reload is not None:
            return
        model.reload_error = None
        if model.config == model.default_config:
            self._look_again(model)
            return
        model.config, model.overlay, model.resolved = model.default_config, NO_CHANGE, None
        if model.default_config == LoadConfig():
            model.resolved = None if model.plain is None else within_limit(model.plain, model.layer_limit)
        self._ledger.set_need(model.name, model.resolved.charge if model.resolved else None)

    def _look_again(self, model: HostedModel) -> None:
        """Have a model that was only partly on GPUs laid out again: the next time there may be more memory."""
        is_partly_there = model.resolved is not None and model.resolved.is_partly_on_gpus
        if is_partly_there and not self._ledger.record(model.name).has_shrunk:
            self._ledger.set_need(model.name, None)

    def forget(self, model: HostedModel) -> None:
        """Drop all configurations, which were laid over an entry that has changed."""
        if model.reload is not None:
            model.reload.is_over, model.reload.error = True, refusals.entry_changed(model.name)
        model.reload = model.reload_error = model.plain = model.resolved = model.layer_limit = None
        model.config, model.default_config, model.overlay = LoadConfig(), LoadConfig(), NO_CHANGE

    def _without_what_holds(self, model: HostedModel, config: LoadConfig) -> LoadConfig:
        """Return ``config`` without a length that is the model's own."""
        own = None if "context_length" in model.overlay.settings else model.context_length
        is_own = config.max_model_len is not None and config.max_model_len == own
        return LoadConfig(**{**config.given, "max_model_len": None}) if is_own else config

    def _has_length(self, model: HostedModel, config: LoadConfig) -> bool:
        """Whether a loaded model has the length of ``config``: after running out of memory it may have less."""
        is_loaded = model.worker is not None and model.reload is None
        return not is_loaded or config.max_model_len in (None, model.context_length)

    def _joined(self, model: HostedModel, config: LoadConfig, *, persists: bool, force: bool) -> Reload | None:
        if model.reload is None:
            model.default_config = config if persists else model.default_config
            return None
        model.reload.persists |= persists
        record = self._ledger.record(model.name)
        if force and record.is_draining:
            self._act(self._ledger.reload(model.name, record.need, self._loop.time(), force=True))
        return model.reload

    async def _found(self, model: HostedModel, config: LoadConfig) -> ConfiguredModel | None:
        """Return the model as ``config`` has it; ``None`` if nothing is known of its files yet."""
        while (plain := model.plain) is not None:
            entry = model.entry
            here = plain if await self._is_current(plain) else None
            memory = model.memory if model.worker is not None else None
            headroom = self._ledger.occupancy.headroom(model.name)
            headroom = replace(headroom, freed={**headroom.freed, RAM: (memory or {}).get(RAM, 0)})
            context = ConfigurationContext(budget=self._ledger.occupancy.budget, plain=here, headroom=headroom)
            found = await find_configured(self._find, entry, config, context, lambda _: None)
            found = replace(found, resolved=within_limit(found.resolved, model.layer_limit))
            if self._models.get(model.name) is not model or self._ledger.record(model.name).is_removed:
                raise refusals.removed(model.name)
            if model.entry is entry:
                return found
        return None

    def _reload(
        self, model: HostedModel, config: LoadConfig, found: ConfiguredModel | None, *, persists: bool, force: bool
    ) -> Reload:
        before = Configuration(config=model.config, overlay=model.overlay, resolved=model.resolved)
        if model.reload is not None:
            before = model.reload.before
            model.reload.is_over, model.reload.error = True, refusals.superseded(model.name)
        model.reload, model.reload_error = Reload(before=before, persists=persists), None
        model.config, model.overlay, model.resolved = config, NO_CHANGE, None
        if found is not None:
            model.plain, model.overlay, model.resolved = found.plain, found.overlay, found.resolved
            model.is_just_found = True
        need = model.resolved.charge if model.resolved else None
        reload = model.reload
        self._act(self._ledger.reload(model.name, need, self._loop.time(), force=force))
        return reload
