"""One model of the host, loaded or not: what is known of it, its worker if it has one, and how fast it is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelhost.engines.adapters import adapter_model_name, names_of
from modelhost.engines.base import Engine
from modelhost.engines.installed import can_do
from modelhost.engines.launch import ModelSpec
from modelhost.engines.load_config import NO_CHANGE, LoadConfig, LoadOverrides
from modelhost.engines.special_tokens import ControlTokens
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import Task
from modelhost.meters import ModelMeters
from modelhost.models.files.memory_pools import Bytes
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.registry.likely_engine import provisional_engine
from modelhost.models.registry.request_defaults import effective_defaults
from modelhost.models.residency.record import ModelPolicy
from modelhost.models.residency.status import ModelEvent, ModelLog
from modelhost.models.resolve.configuration import ConfiguredModel
from modelhost.models.resolve.resolved import LayerLimit, Resolved, within_limit
from modelhost.workers.worker import Worker

WINDOW_SECONDS = 300.0
STEP_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What a model did lately; ``None`` if there was nothing to measure."""

    tokens_per_second: float | None = None
    """Over all its answers together, in the time in which it had any at work."""
    latency_seconds: float | None = None
    """From the beginning of an answer to its first piece, on average."""


@dataclass(slots=True)
class _Step:
    began: float
    tokens: int = 0
    seconds: float = 0.0
    latency_seconds: float = 0.0
    answers: int = 0


class ThroughputMeter:
    """Measures one model from the beginnings and ends of its answers. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque()
        self._at_work = 0
        self._counted_until = 0.0
        """Up to when the time of the answers at work has been counted."""

    def begin(self, now: float) -> None:
        """Note that an answer begins: the model is loaded, and nobody is before it."""
        if not self._at_work:
            self._counted_until = now
        self._at_work += 1

    def end(self, now: float, *, tokens: int | None, latency_seconds: float | None) -> None:
        """Note that an answer has ended.

        ``tokens`` of ``None``: nobody knows how many there were, as it was cut off. Its time is not counted then, but
        as far as other answers share it.
        """
        self._at_work -= 1
        if tokens is None:
            return
        step = self._step(now)
        step.tokens += tokens
        step.seconds += now - self._counted_until
        self._counted_until = now
        if latency_seconds is not None:
            step.latency_seconds += latency_seconds
            step.answers += 1

    def measured(self, now: float) -> Throughput:
        """Return what the answers of the last ``WINDOW_SECONDS`` came to."""
        self._forget(now)
        tokens, answers = sum(step.tokens for step in self._steps), sum(step.answers for step in self._steps)
        seconds = sum(step.seconds for step in self._steps)
        return Throughput(
            tokens_per_second=tokens / seconds if tokens and seconds else None,
            latency_seconds=sum(step.latency_seconds for step in self._steps) / answers if answers else None,
        )

    def _step(self, now: float) -> _Step:
        self._forget(now)
        if not self._steps or now - self._steps[-1].began >= STEP_SECONDS:
            self._steps.append(_Step(now))
        return self._steps[-1]

    def _forget(self, now: float) -> None:
        while self._steps and now - self._steps[0].began > WINDOW_SECONDS:
            self._steps.popleft()


SECONDS_PER_BYTE = 1 / 1_000_000_000
"""The first estimate of the load time, for a fast disk."""
SECONDS_TO_START = 0.5
"""The load time of a worker with next to nothing to load."""
EVENTS_KEPT = 50
NOT_SET = (None, "auto", "none")
"""Values of engine options that leave the numbers of a model as they are."""
HOSTS_OWN = {"alias", "queue_size", "request_timeout", "load_timeout", "stall_timeout", "idle_unload_secs"}
"""Settings that do not concern the worker of a model: they can change while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a model is loaded as."""

    config: LoadConfig
    overlay: LoadOverrides
    resolved: Resolved | None


@dataclass(slots=True, eq=False, kw_only=True)
class Reload:
    """An attempt to load a model with another configuration than ``before``."""

    before: Configuration
    persists: bool
    """Whether the configuration is to stay."""
    is_over: bool = False
    error: ModelhostError | None = None
    """Why it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What an inspection of a model's files has shown. Without both: they have to be downloaded."""

    resolved: Resolved | None = None
    error: ModelhostError | None = None
    """Why it cannot be loaded."""


class HostedModel:
    """What is known of a model. The scheduler alone changes it, and :class:`Reloads` for it; everyone else reads."""

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry
        self.meters = ModelMeters(entry.name)
        self.resolved: Resolved | None = None
        """What its files are and how they are run, once that has been looked up."""
        self.preview: Preview | None = None
        """What a later inspection of its files has shown; ``None`` as long as they are as ``resolved`` says."""
        self.plain: Resolved | None = None
        """As ``resolved``, without a configuration."""
        self.layer_limit: LayerLimit | None = None
        """The limit after a load that ran out of GPU memory."""
        self.config = LoadConfig()
        """The configuration that was requested: with the overlay, in force or being loaded."""
        self.overlay: LoadOverrides = NO_CHANGE
        self.default_config = LoadConfig()
        """The configuration of loads that bring none."""
        self.reload: Reload | None = None
        self.reload_error: ModelhostError | None = None
        """Why it does not have the configuration that was requested last."""
        self.is_just_found = False
        """Its files have been looked up for the load that comes next."""
        self.workers: tuple[Worker, ...] = ()
        """Those that are ready; one at most, for now. They are not to be used without a lease."""
        self.worker: Worker | None = None
        """The first of them, which all are alike."""
        self.operations: tuple[str, ...] = ()
        """What it can do, as its worker said when it was loaded last; empty before."""
        self.sees_images: bool | None = None
        """Whether it takes images, as its worker said; ``None`` before, and if it did not say."""
        self.why_blind: str | None = None
        """Why it takes none, if its worker said so (:attr:`modelhost.engines.launch.Ready.why_blind`)."""
        self.hears_audio: bool | None = None
        """Whether it takes sound; as above."""
        self.calls_tools: bool | None = None
        """Whether its chats may have tools, as its worker says; ``None`` without one, and if it does not say."""
        self.progress: float | None = None
        self.memory: Bytes | None = None
        self.loaded_at: float | None = None
        self.load_seconds: float | None = None
        """How long it took to load, the last time."""
        self.throughput = ThroughputMeter()
        self.overrides: Mapping[str, Any] = {}
        """Request defaults that were set while the host runs; ``None`` takes one of the entry's away."""
        self.last_lines: tuple[str, ...] = ()
        """Of the log of the worker that it had before."""
        self._events: deque[ModelEvent] = deque(maxlen=EVENTS_KEPT)

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def aliases(self) -> tuple[str, ...]:
        return self.entry.aliases

    @property
    def adapter_names(self) -> tuple[str, ...]:
        """The names of its LoRA adapters, in the order in which they were given."""
        return names_of(self.entry.settings.lora) if self.entry.settings.lora else ()

    @property
    def names_with_adapters(self) -> tuple[str, ...]:
        """Its name with each of them."""
        return tuple(adapter_model_name(self.name, adapter) for adapter in self.adapter_names)

    def adapter_in(self, name: str | None) -> str | None:
        """Return the adapter that ``name``, by which this model was found, names beside the model."""
        if name is None or name == self.name or name in self.aliases:
            return None
        model, _, adapter = name.rpartition(":")
        return adapter if model and adapter in self.adapter_names else None

    @property
    def engine(self) -> Engine:
        return known.engine if (known := self.known) else provisional_engine(self.entry.settings)

    @property
    def known(self) -> Resolved | None:
        """What it is, or will be when it is loaded; ``None``: not inspected yet, or not downloaded."""
        return self.resolved if self.preview is None or self.worker is not None else self.preview.resolved

    def can_do(self, task: Task) -> bool:
        """Whether it can do ``task``, as far as is known before it is loaded."""
        return can_do(self.engine.name, task, own_task=self.known.spec.task if self.known else None)

    @property
    def expected_operations(self) -> tuple[str, ...]:
        """What it can do; before it is loaded, by its files and settings; empty if these do not tell."""
        return self.operations or (self.known.tasks if self.known else ())

    @property
    def may_hear(self) -> bool | None:
        """Whether it takes sound in its chats; before it is loaded, by its files; ``None`` if nothing says so."""
        return self.hears_audio if self.hears_audio is not None or self.known is None else self.known.hears_audio

    @property
    def spec(self) -> ModelSpec | None:
        return self.resolved.spec if self.resolved else None

    @property
    def control_tokens(self) -> ControlTokens | None:
        """What is neutralised in the contents of its chats, once its files are found."""
        return self.resolved.control_tokens if self.resolved else None

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of its engine: once its files are found, with what became of launch parameters."""
        return self.known.spec.options if self.known else self.entry.settings.engine_options

    @property
    def quantization(self) -> str | None:
        """In force: what the engine options say, else what its files are."""
        set_by_options = [self.options.get(name) for name in ("isq", "quantization")]
        own = self.known.quantization if self.known else None
        return next((str(each) for each in set_by_options if each not in NOT_SET), own)

    @property
    def dtype(self) -> str | None:
        """In force: what the engine options say, else what its files decide; ``None`` if the engine chooses."""
        set_by_options = self.options.get("dtype")
        if set_by_options not in NOT_SET:
            return str(set_by_options)
        return self.known.dtype if self.known else None

    @property
    def load_config(self) -> Mapping[str, Any]:
        """What differs from its entry, in vLLM's words; all that was requested as long as its files are not found."""
        return self.overlay.config if self.resolved else self.config.given

    @property
    def is_config_temporary(self) -> bool:
        """Whether that ends with its worker, or with the next load that brings no configuration."""
        return bool(self.load_config) and self.config != self.default_config

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The values for what requests leave out."""
        laid_over = {**self.entry.defaults, **self.overrides}
        return effective_defaults(laid_over, self.engine)

    @property
    def context_length(self) -> int | None:
        if self.worker is not None and self.worker.ready.context_length is not None:
            return self.worker.ready.context_length
        return self.known.spec.context_length if self.known else None

    @property
    def slots(self) -> int | None:
        if self.worker is not None and self.worker.ready.slots is not None:
            return self.worker.ready.slots
        return self.known.spec.slots if self.known else None

    @property
    def engine_version(self) -> str | None:
        return self.worker.ready.engine_version if self.worker is not None else None

    @property
    def max_tokens(self) -> int | None:
        """The longest answer to a request that does not say; ``None``: not known, or it writes none."""
        if self.known is not None and (self.known.spec.embedding_only or self.known.spec.pooling is not None):
            return None
        most = self.worker.ready.most_tokens if self.worker is not None else None
        limits = (self.defaults.get("max_tokens"), self.context_length, most)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def estimated_load_seconds(self) -> float | None:
        """From the last time, else from the size of its files; ``None`` as long as they are not here."""
        if self.load_seconds is not None:
            return self.load_seconds
        return SECONDS_TO_START + self.known.size_bytes * SECONDS_PER_BYTE if self.known else None

    # Changes, by the scheduler alone.

    def set_files(self, found: ConfiguredModel) -> None:
        """Note the files that were found for the load that comes next."""
        self.plain, self.overlay = found.plain, found.overlay
        self.resolved = within_limit(found.resolved, self.layer_limit)
        self.is_just_found, self.preview = True, None

    def limit_layers(self, limit: LayerLimit) -> Resolved:
        """Put fewer layers on GPUs from the next load on; return the model as it is then."""
        assert self.resolved is not None
        self.layer_limit = limit
        self.resolved, self.is_just_found = within_limit(self.resolved, limit), True
        return self.resolved

    def attach_worker(self, worker: Worker, load_seconds: float) -> None:
        self.workers, self.worker = (worker,), worker
        self.memory = None
        self.operations = tuple(sorted(worker.ready.tasks))
        ready = worker.ready
        self.sees_images, self.hears_audio, self.calls_tools = ready.sees_images, ready.hears_audio, ready.calls_tools
        self.why_blind = ready.why_blind
        self.loaded_at, self.load_seconds = time.time(), load_seconds
        self.meters.count_load(load_seconds, self.slots or 1)

    def detach_worker(self) -> Worker | None:
        """Remove and return the worker; what it has written can still be read."""
        self.calls_tools = None  # the next one may have another chat template
        worker = self.worker
        self.workers, self.worker = (), None
        if worker is not None:
            self.last_lines = tuple(worker.process.stderr_lines())
        return worker

    def record_event(self, event: ModelEvent) -> None:
        """Keep an event for :meth:`log`, unless it repeats the last one."""
        last = self._events[-1] if self._events else None
        if last is None or (last.state, last.activity, last.message) != (event.state, event.activity, event.message):
            self._events.append(event)

    def log(self) -> ModelLog:
        """Return what its worker wrote last, and what happened to it."""
        lines = self.last_lines if self.worker is None else tuple(self.worker.process.stderr_lines())
        return ModelLog(lines=lines, events=tuple(self._events))

    def needs_new_worker(self, entry: ModelEntry) -> bool:
        """Whether replacing the present entry by ``entry`` requires another worker."""
        return entry.settings.model_dump(exclude=HOSTS_OWN) != self.entry.settings.model_dump(exclude=HOSTS_OWN)

    @property
    def policy(self) -> ModelPolicy:
        settings = self.entry.settings
        return ModelPolicy(
            max_in_flight=settings.max_in_flight,
            queue_size=settings.queue_size,
            wait_seconds=settings.request_timeout,
            idle_unload_seconds=self.entry.idle_unload_seconds,
            is_pinned=self.entry.is_pinned,
        )
