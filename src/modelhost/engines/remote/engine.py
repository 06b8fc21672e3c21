"""Models on another server with OpenAI's HTTP API: vLLM, llama-server, another modelhost ...

Nothing is started here. Fields that a server of its kind (``dialect``) supports beyond OpenAI's are passed on; all
other fields are refused, unless the engine option ``fields`` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines import load_config
from modelhost.engines.base import AcceptedParams, Engine
from modelhost.engines.launch import Launch, ModelSpec, RemoteTarget
from modelhost.engines.load_config import ConfiguredLoad, LoadBaseline, LoadConfig
from modelhost.engines.options import check_options
from modelhost.engines.remote.dialects import DIALECTS
from modelhost.engines.remote.errors import error_from
from modelhost.errors import ConfigError, ModelhostError, UnsupportedParameter
from modelhost.exchange.tasks import CONTINUOUS_USAGE, Task

OPTIONS: Final[Mapping[str, Any]] = {
    "model": "",  # the model's name on the server; default: the first that the server lists
    "dialect": "openai",  # the kind of server: openai, vllm, llamacpp, modelhost
    "fields": None,  # further request fields that the server supports: a list, or text with commas
    "health_seconds": 10.0,  # seconds between two checks of each server
    "connect_seconds": 5.0,  # seconds in which a server must accept a connection
    "verify": True,  # whether the certificate of an https:// server must be valid
    "ca_file": "",  # file with certificates to trust, in addition to the system's
}
NOT_OPENAIS: Final = frozenset({"top_k", "min_p"})
"""Fields that the host checks itself although they are not part of OpenAI's API."""
FILES: Final[Mapping[str, str]] = {
    "lora": "lora",
    "draft_model": "draft_path",
    "mmproj": "mmproj_path",
    "chat_template": "chat_template",
}
"""Settings of a model's files, and their names in :class:`ModelSpec`."""

CHOICES: Final = {"dialect": tuple(DIALECTS)}
ELSEWHERE: Final = "the server of a remote model decides that; start that server with it"


class Remote(Engine):
    """The engine of models on remote servers."""

    name = "remote"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Create the engine for a model with these engine options.

        Raises:
            ConfigError: an unknown option, or an invalid value.
        """
        values = check_options(self.name, options or {}, OPTIONS, choices=CHOICES)
        for name in ("health_seconds", "connect_seconds"):
            if values[name] <= 0:
                raise ConfigError(f'engine option "{name}": {values[name]:g} is too small', param="engine_options")
        self._options = values
        self._fields = _names(values["fields"])
        self._dialect = DIALECTS[values["dialect"]]
        self.custom_tools = self._dialect.custom_tools
        self.continues_final_message = self._dialect.continues_final_message
        self.has_own_tools = self._dialect.has_own_tools
        self.preparation = self._dialect.preparation

    def for_model(self, options: Mapping[str, Any]) -> Remote:
        return Remote(options)

    def accept(self, params: Mapping[str, Any]) -> AcceptedParams:
        """The server has its own launch parameters: those that would change its answers are problems here."""
        settings = {name: params[name] for name in ("context_length", "engine_options") if name in params}
        problems = [f'"params.{name}": the server of a remote model decides that' for name in FILES if params.get(name)]
        try:
            Remote(params.get("engine_options"))
        except ConfigError as error:
            problems.append(error.message)
        unused = params.keys() - settings.keys() - FILES.keys()
        return AcceptedParams(
            settings=settings,
            problems=tuple(problems),
            warnings=tuple(
                f'"params.{name}" has no effect with a remote model: its server decides that' for name in sorted(unused)
            ),
        )

    def configure_load(self, config: LoadConfig, baseline: LoadBaseline) -> ConfiguredLoad:
        """Only values that already hold are possible: the server determines the others."""
        context = load_config.fixed_field("max_model_len", baseline.spec.context_length, ELSEWHERE)
        return load_config.configure_load(
            {**load_config.fixed_fields(ELSEWHERE), "max_model_len": context}, config, baseline
        )

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        """Return where the model is. ``api_key`` is not used: servers have their own key."""
        for setting, field in FILES.items():
            if getattr(spec, field):
                raise ConfigError(f"{setting}: the server of a remote model decides that", param=setting)
        options = self._options
        return Launch(
            argv=(),
            env={},
            config={},
            remote=RemoteTarget(
                urls=spec.urls,
                api_key=spec.url_key,
                model=options["model"],
                tasks=self._dialect.tasks,
                context_length=spec.context_length,
                health_seconds=options["health_seconds"],
                connect_seconds=options["connect_seconds"],
                verify=options["verify"],
                ca_file=options["ca_file"],
            ),
        )

    def advice(self, task: Task) -> str:
        if task in self._dialect.tasks:
            return "The server reports it."
        return "The engine option dialect sets the kind of server."

    def fields(self, task: Task) -> frozenset[str]:
        # Its answers have another form, which only workers here produce.
        return frozenset() if task == "infill" else self._dialect.fields(task) | self._fields

    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` in the dialect.

        Raises:
            InvalidRequest, UnsupportedParameter: such a server does not support a field, or its value.
        """
        known = self.fields(task)
        for name in body:
            if name in NOT_OPENAIS and name not in known:
                raise UnsupportedParameter(
                    f'The field "{name}" is not one of OpenAI\'s API, which is all that is known of the server of '
                    'this model. If the server has it, say so with the engine option "fields" or "dialect".',
                    param=name,
                )
        options = body.get("stream_options") or {}
        if CONTINUOUS_USAGE in options and not self._dialect.streams_usage and CONTINUOUS_USAGE not in self._fields:
            kept = {name: value for name, value in options.items() if name != CONTINUOUS_USAGE}
            body["stream_options"] = kept  # the host counts
        return self._dialect.adapt(task, body)

    def convert_answer(self, task: Task, data: bytes) -> bytes:
        return self._dialect.convert_answer(task, data)

    def usage_in(
        self, chunk: Mapping[str, Any], *, requested: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        return self._dialect.usage_in(chunk, requested)

    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        return error_from(status, payload, model=model, worker=worker, own=self._dialect.translate)


def _names(value: Any) -> frozenset[str]:
    """Return the names of fields in a list, or in text with commas (ConfigError: it is neither)."""
    if value is None:
        return frozenset()
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f'engine option "fields" of remote takes a list of names, not {value!r}', param="fields")
    return frozenset(name.strip() for name in names if name.strip())


ENGINE: Final[Engine] = Remote()
