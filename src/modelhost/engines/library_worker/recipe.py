"""How a worker around a library is started; the host's side."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from modelhost.engines.base import Accepted, Launch, ModelSpec
from modelhost.engines.library_worker.dialect import FIELDS, LibraryDialect
from modelhost.engines.library_worker.load import honours
from modelhost.engines.library_worker.params import accepted
from modelhost.engines.library_worker.tool_format import AUTO, FORMS
from modelhost.engines.load_config import Configured, LoadConfig, Premises, configured
from modelhost.engines.options import check_options, check_settings, problem_of_options
from modelhost.engines.prompting import prompting
from modelhost.errors import ConfigError
from modelhost.exchange.tasks import Task

OPTIONS: Mapping[str, Any] = {
    "cache_ram_mib": 512,  # for the caches of finished conversations, which may be continued
    "tool_call_parser": "auto",  # the form of the model's tool calls, by vLLM's names; auto: as its chat template tells
    "batch_size": 512,  # tokens of new prompts that are worked on between two steps of the answers at work
}
"""Options of every such engine."""
DTYPES = ("auto", "float32", "bfloat16", "float16")
"""Values of the option ``dtype``, of engines that have it."""
FALLBACK_CONTEXT = 4096
UNKNOWN: Mapping[str, str] = {
    "lora": "serve a model that the adapter is merged into",
    "draft_path": "llama.cpp can, with GGUF files",
    "mmproj_path": "the vision encoder is among the model's own files",
    "gpu_layers": "the whole model is on one device",
}
"""Settings that these engines cannot honour, and what helps."""


class LibraryEngine(LibraryDialect):
    """The :class:`~modelhost.engines.base.Engine` around a library; what differs is given.

    Args:
        options: the engine's own, with their defaults, beside ``OPTIONS``.
        environment: variables of its worker.
        memory_phrases: as those of :class:`~modelhost.engines.base.Launch`.
    """

    def __init__(
        self,
        name: str,
        *,
        module: str,
        options: Mapping[str, Any],
        environment: Mapping[str, str],
        memory_phrases: tuple[str, ...],
    ) -> None:
        self.name = name
        self._module = module
        self._options = {**OPTIONS, **options}
        self._environment = environment
        self._memory_phrases = memory_phrases

    def accept(self, params: Mapping[str, Any]) -> Accepted:
        def problem_of(options: Mapping[str, Any]) -> str:
            problem = problem_of_options(self.name, options, self._options)
            return problem or self._problem_of_dtype(options)

        return accepted(self.name, params, known_options=self._options, check_options=problem_of)

    def _problem_of_dtype(self, options: Mapping[str, Any]) -> str:
        dtype = options.get("dtype", "auto")
        if dtype in DTYPES:
            return ""
        return f'engine option "dtype" of {self.name} takes {", ".join(DTYPES)}, not "{dtype}"'

    def configured(self, config: LoadConfig, premises: Premises) -> Configured:
        return configured(honours(self.name, self._options, prefixes="cache_ram_mib"), config, premises)

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        options = check_options(self.name, spec.options, self._options)
        if problem := self._problem_of_dtype(options):
            raise ConfigError(problem, param="engine_options")
        check_settings(self.name, spec, UNKNOWN)
        if options["tool_call_parser"] not in (AUTO, *FORMS):
            raise ConfigError(
                f'engine option "tool_call_parser": "{options["tool_call_parser"]}" is not one of auto, '
                f"{', '.join(FORMS)}",
                param="engine_options",
            )
        for name in ("batch_size", "cache_ram_mib"):
            if options[name] < (1 if name == "batch_size" else 0):
                raise ConfigError(f'engine option "{name}": {options[name]} is too small', param="engine_options")
        config = {
            **options,
            "name": spec.name,
            "path": str(spec.path),
            "api_key": api_key,
            "context_length": spec.context_length or FALLBACK_CONTEXT,
            "slots": spec.slots or 1,
            "threads": spec.threads or 1,
            **prompting(spec),
            "own_chat_template": spec.own_chat_template,
            "special_tokens": spec.special_tokens,
        }
        argv = (spec.python or sys.executable, "-m", self._module)
        threads = str(spec.threads or 1)
        env = {
            "HF_HUB_OFFLINE": "1",  # everything is here; a library must not look for newer files
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": threads,
            **self._environment,
            **spec.env,
        }
        return Launch(argv=argv, env=env, config=config, memory_phrases=self._memory_phrases)

    def fields(self, task: Task) -> frozenset[str]:
        return FIELDS[task]
