"""An engine whose workers do one job at a time: start, options and errors, on the host's side."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.base import AcceptedParams, Engine
from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.load_config import (
    NO_CHANGE,
    ConfiguredLoad,
    FieldResult,
    LoadBaseline,
    LoadConfig,
    configure_load,
    fixed_fields,
)
from modelhost.engines.media.refusals import (
    AUDIO_TOO_LONG,
    IMAGE_TOO_LARGE,
    INVALID_AUDIO,
    INVALID_IMAGE,
    NO_MEMORY,
    NOTHING_TO_SPEAK,
    PROMPT_TOO_LONG,
)
from modelhost.engines.options import check_options, check_settings, problem_of_options
from modelhost.engines.worker.asgi import UNSUPPORTED
from modelhost.engines.worker.foreign_start import command
from modelhost.errors import (
    ConfigError,
    ContextLengthExceeded,
    EngineError,
    InsufficientMemory,
    InvalidAudio,
    InvalidImage,
    InvalidRequest,
    ModelhostError,
    NothingToSpeak,
    RequestTooLarge,
    UnsupportedParameter,
)
from modelhost.exchange.tasks import Task

ACCEPTED: Final = ("threads", "engine_options")
"""The launch parameters of a registry entry that such an engine has."""
WRITES_NO_TEXT: Final = "its models are not for chats"
UNSUPPORTED_SETTINGS: Final[Mapping[str, str]] = dict.fromkeys(
    ("lora", "draft_path", "mmproj_path", "chat_template", "gpu_layers"), WRITES_NO_TEXT
)
REFUSALS: Final[Mapping[str, type[ModelhostError]]] = {
    NOTHING_TO_SPEAK: NothingToSpeak,
    INVALID_AUDIO: InvalidAudio,
    AUDIO_TOO_LONG: RequestTooLarge,
    INVALID_IMAGE: InvalidImage,
    IMAGE_TOO_LARGE: RequestTooLarge,
    PROMPT_TOO_LONG: ContextLengthExceeded,
    NO_MEMORY: InsufficientMemory,
    UNSUPPORTED: UnsupportedParameter,
    "invalid_request_error": InvalidRequest,
}
"""The errors of requests, by the type that the worker gives them."""


class MediaEngine(Engine):
    """What such engines have in common; each adds its name, its worker's module and its options."""

    module: str
    options: Mapping[str, Any]
    """The engine's options with their defaults."""
    parses_special_tokens = False

    def problem_of(self, options: Mapping[str, Any]) -> str:
        """Return what is wrong with the values of ``options``, which are known and of the right types."""
        return ""

    def accept(self, params: Mapping[str, Any]) -> AcceptedParams:
        given = params.get("engine_options") or {}
        problem = problem_of_options(self.name, given, self.options) or self.problem_of({**self.options, **given})
        refused = [f'"params.{name}" is not for {self.name}: {WRITES_NO_TEXT}' for name in params.keys() - {*ACCEPTED}]
        return AcceptedParams(
            settings={name: params[name] for name in ACCEPTED if name in params},
            problems=(*sorted(refused), *([problem] if problem else [])),
        )

    def configure_load(self, config: LoadConfig, baseline: LoadBaseline) -> ConfiguredLoad:
        without = f"{self.name} has no such option"
        return configure_load({**fixed_fields(without), "max_model_len": _context_length}, config, baseline)

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        options = check_options(self.name, spec.options, self.options)
        if problem := self.problem_of(options):
            raise ConfigError(problem, param="engine_options")
        check_settings(self.name, spec, UNSUPPORTED_SETTINGS)
        path = None if spec.path is None else str(spec.path)
        config = {**options, "name": spec.name, "path": path, "api_key": api_key, "threads": spec.threads or 1}
        argv = (sys.executable, "-m", self.module) if spec.python is None else command(spec.python, self.module)
        env = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(spec.threads or 1), **spec.env}
        return Launch(argv=argv, env=env, config=config, memory_phrases=("bad_alloc", "memoryerror"))

    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        return body

    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        error = payload.get("error") if isinstance(payload, dict) else None
        if not isinstance(error, dict):
            error = {"message": f"the engine answered {status} without saying why"}
        if (refused := refusal_of(error)) is not None:
            return refused
        message, kind = str(error.get("message", "")), str(error.get("type"))
        return EngineError(
            f"The engine of {model} failed: {message}", model=model, worker=worker, status=status, engine_type=kind
        )


def refusal_of(error: Mapping[str, Any]) -> ModelhostError | None:
    """Return what a worker for sound or images has refused, with advice for its task; ``None``: it has failed."""
    kind, param = REFUSALS.get(str(error.get("type"))), error.get("param")
    if kind is None:
        return None
    advice = {"suggestion": f'Shorten "{param}".'} if kind is ContextLengthExceeded and param else {}
    return kind(str(error.get("message", "")), param=param, **advice)


def _context_length(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    return NO_CHANGE if config.max_model_len == baseline.spec.context_length else "its models have no context"
