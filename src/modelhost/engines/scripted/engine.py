"""The scripted engine: a worker process that replays a script at a set speed.

For tests of faults and for benchmarks. It is a real process behind real HTTP, but not a model: no result with it is a
claim about an engine. Its dialect (paths, request fields, the shapes of answers and errors) is llama.cpp's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines import ENGINES, load_config
from modelhost.engines.base import AcceptedParams, Engine
from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.load_config import ConfiguredLoad, FieldResult, LoadBaseline, LoadConfig, LoadOverrides
from modelhost.engines.options import MOST_SLOTS, check_options, problem_of_options
from modelhost.errors import ConfigError, ModelhostError
from modelhost.exchange.tasks import Task
from modelhost.monitor.engine_reports import EngineMetrics

DEFAULT_TEXT = "This is the scripted engine. It replays a script at a set speed and knows nothing about anything."
NEVER = -1
DEFAULT_CONTEXT = 4096

REPLY_OPTIONS: Mapping[str, Any] = {
    "text": DEFAULT_TEXT,  # what is answered; one word is one token
    "tokens": 0,  # how many tokens: the words of the text, over and over; 0: the text once
    "reasoning": "",  # comes before the text, as `reasoning_content`
    "tool_calls": None,  # list of {name, arguments}, for requests that bring tools
    "tool_turns": 1,  # turns in which they are made; "{turn}" in their arguments becomes the turn's number
    "tokens_per_second": 0.0,  # of each stream; 0: as fast as it can
    "events_per_write": 16,  # when nothing paces it; a high number makes the bare worker hard to keep up with
    "first_token_delay": 0.0,  # seconds
    "crash_after_tokens": NEVER,  # SIGKILL of itself
    "hang_after_tokens": NEVER,  # silence until the client leaves
    "malformed_after_tokens": NEVER,  # one event that is not JSON
    "error_status": 0,  # answer with this status instead
    "error_body": None,  # the JSON of that answer; default: an error object as llama.cpp has it
}
OPTIONS: Mapping[str, Any] = {
    **REPLY_OPTIONS,
    "script": "",  # YAML or JSON file: list of {match, reply, and any of the options above}; the first match answers
    "context_length": 0,  # in words; 0: what --context-length says
    "load_seconds": 0.0,
    "load_progress": 0,  # announcements of progress while loading
    "fail_load": "",  # message with which loading fails
    "exit_at_start": NEVER,  # status with which it ends without a word
    "calls_tools": True,  # false: requests with tools are refused, as of a model whose chat template shows none
    "stderr_lines": 0,  # lines that it logs before anything else
}


class Scripted(Engine):
    """The engine that plays a script."""

    name = "scripted"
    metrics = EngineMetrics(prefix="llamacpp:", running="llamacpp:requests_processing")

    @property
    def _dialect(self) -> Engine:
        return ENGINES["llamacpp"]

    def accept(self, params: Mapping[str, Any]) -> AcceptedParams:
        """A script has slots and a context length; parameters of weights and memory have no effect."""
        settings = {
            name: params[name] for name in ("context_length", "slots", "threads", "engine_options") if name in params
        }
        if "max_num_seqs" in params:
            settings.setdefault("slots", min(params["max_num_seqs"], MOST_SLOTS))
        refused = [name for name in ("lora", "draft_model", "mmproj", "chat_template") if params.get(name)]
        unused = params.keys() - settings.keys() - {*refused, "max_num_seqs"}
        problems = [f'"params.{name}": the scripted engine has no model, so it cannot use it' for name in refused]
        if problem := problem_of_options(self.name, params.get("engine_options") or {}, OPTIONS):
            problems.append(problem)
        return AcceptedParams(
            settings=settings,
            problems=tuple(problems),
            warnings=tuple(f'"params.{name}" has no effect with the scripted engine' for name in sorted(unused)),
        )

    def configure_load(self, config: LoadConfig, baseline: LoadBaseline) -> ConfiguredLoad:
        """A script has a context length, and no other configurable field."""
        field_handlers = load_config.fixed_fields("the scripted engine has no model, so it can only be left out")
        return load_config.configure_load({**field_handlers, "max_model_len": _context_length}, config, baseline)

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        options = check_options(self.name, spec.options, OPTIONS)
        for setting in ("lora", "draft_path", "mmproj_path", "chat_template"):
            if getattr(spec, setting):
                raise ConfigError(f"the scripted engine has no model, so it cannot use {setting}", param=setting)
        config = {
            "name": spec.name,
            "api_key": api_key,
            "slots": spec.slots or spec.max_in_flight,
            **options,
            "context_length": options["context_length"] or spec.context_length or DEFAULT_CONTEXT,
            "tool_calls": checked_calls(options["tool_calls"]),
        }
        argv = (spec.python or sys.executable, "-m", "modelhost.engines.scripted.worker")
        return Launch(argv=argv, env=dict(spec.env), config=config)

    def fields(self, task: Task) -> frozenset[str]:
        """Those of llama.cpp: sampling parameters are accepted and have no effect on a script."""
        if task in ("infill", "speech", "images", "image_edits"):
            return frozenset()
        return self._dialect.fields(task) | ({"suffix"} if task == "completions" else frozenset())

    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` in llama.cpp's dialect, without the JSON schema of a required call, which no script
        follows."""
        if task == "speech":
            return body
        choice = body.pop("tool_choice", None)
        body = self._dialect.adapt(task, body)
        return body if choice is None else {**body, "tool_choice": choice}

    def usage_in(
        self, chunk: Mapping[str, Any], *, requested: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        return self._dialect.usage_in(chunk, requested=requested)

    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        return self._dialect.translate_error(status, payload, model=model, worker=worker)


ENGINE: Final[Engine] = Scripted()


def _context_length(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    fixed = baseline.spec.options.get("context_length")
    if not fixed:
        return load_config.context_length_field(config, baseline)
    return (
        LoadOverrides()
        if fixed == config.max_model_len
        else LoadOverrides(options={"context_length": config.max_model_len})
    )


def checked_calls(value: Any) -> list[dict[str, Any]]:
    """Return the ``tool_calls`` option as a list of ``{"name": text, "arguments": text}``.

    Arguments may be an object, or text, which is passed on unchanged, valid or not. The value may be JSON text, as on
    the command line.

    Raises:
        ConfigError: it is anything else.
    """
    if value is None:
        return []
    try:
        calls = json.loads(value) if isinstance(value, str) else value
        return [_checked_call(**call) for call in calls]
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f'engine option "tool_calls" of scripted is a list of {{"name": ..., "arguments": {{...}}}}, not {value!r}',
            param="engine_options",
        ) from error


def _checked_call(name: str, arguments: Any) -> dict[str, Any]:
    return {"name": str(name), "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}
