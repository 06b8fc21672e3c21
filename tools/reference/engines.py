"""``docs/reference/engines.md``."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from modelhost.chat.parsing.bodies import MODELS
from modelhost.engines import ENGINES, TRAITS
from modelhost.engines.capabilities import FEATURES, KEYWORDS, Capabilities, Provider
from modelhost.exchange.tasks import Task
from tools.reference.tables import table

TASKS: Final[Mapping[Task, str]] = {
    "chat": "chat completions",
    "completions": "completions",
    "embeddings": "embeddings",
    "tokenize": "tokenize",
}
CAPABILITIES: Final[Mapping[str, Capabilities]] = {
    name: traits.capabilities for name, traits in TRAITS.items() if traits.capabilities is not None
}
FOR_MEDIA: Final = [
    name
    for name, traits in TRAITS.items()
    if traits.serves == "files" and {"speech", "transcription", "images"} & {*traits.can}
]
SAFETENSORS: Final = sorted(
    (name for name, traits in TRAITS.items() if "safetensors" in traits.formats),
    key=lambda name: TRAITS[name].fallback_rank,
)
CHECKED_ONLY: Final[Mapping[str, frozenset[str]]] = {
    name: can.unenforced for name, can in CAPABILITIES.items() if can.unenforced is not None
}
WORDS: Final[Mapping[Provider, str]] = {"engine": "yes", "host": "host", "refused": "no"}
OPTION_PLACES: Final[Mapping[str, Sequence[str]]] = {
    "llamacpp": ("llamacpp.options",),
    "mlx": ("library_engine", "mlx.engine"),
    "transformers": ("library_engine", "transformers.engine"),
    "vllm": ("vllm.params",),
}
"""The modules, below that of the engines, whose tables of options an engine has; otherwise that of its class."""
_OPTION: Final = re.compile(r'^ +"(\w+)": (.+?),(?:  # (.+))?$', re.MULTILINE)
_TABLE: Final = re.compile(r"(?:^\w*OPTIONS\b[^=]*=|options=)\s*\{\n(.*?)^ *\}", re.MULTILINE | re.DOTALL)


def engines_page() -> str:
    """What each engine can do, who sees to it, and the fields and options that are its own."""
    names = list(CAPABILITIES)
    features = [
        (meaning, *(WORDS[CAPABILITIES[name].provider_of(key)] for name in names)) for key, meaning in FEATURES.items()
    ]
    return f"""# Engines

The engine of a model is set by `--engine`, by `engine` in an entry of the registry, or else by the model's format and
the machine:

- GGUF files use llama.cpp.
- Safetensors use MLX on Apple silicon, vLLM with an NVIDIA GPU, mistral.rs if the engine option `isq` requests
  quantization during the load, and otherwise transformers. If that engine is not installed, the first installed one of
  {_listed(SAFETENSORS)} is used, and the log reports it (`engine_is_second_choice`). If none is
  installed, the error names the commands that install one, and nothing is downloaded.
- A base URL is a remote server.

The format of a model on the hub follows from the list of its files: a GGUF file is used if there is one, unless the
engine reads safetensors, or the model is named `org/name:safetensors`.

`modelhost engines list` shows the installed engines and how to install the others: `modelhost engines install vllm` (or
`mistralrs`) creates a separate environment; the others are extras of modelhost (`pip install
'modelhost[transformers]'`, `[mlx]`).

{table(("Engine", "`engine`", "Reads", "Runs on"), [_about(name) for name in names])}
## Capabilities

A request behaves in the same way with every engine. *yes*: the engine does it; *host*: the host does it for the engine;
*no*: the request is refused with 400 `unsupported_parameter` or `unsupported_operation`. Nothing is ignored silently.
The tests check each line with every engine.

{table(("Feature", *(CAPABILITIES[name].title for name in names)), features)}
{table(("Property", *(CAPABILITIES[name].title for name in names)), _facts([CAPABILITIES[name] for name in names]))}
## JSON schemas

How engines treat the JSON schema of an answer. *enforced*: the engine can write only matching tokens. *checked*: the
answer may differ from the schema; it is then generated again (at most twice, if it does not stream and a repetition can
give another answer), or ends with the finish detail `schema_violated`. Enforced keywords are checked too. A
`llama-server` and builds of llama.cpp without llguidance enforce less, and remote servers may enforce anything; their
answers are checked in the same way.

{table(("Keywords", *(CAPABILITIES[name].title for name in CHECKED_ONLY)), _keywords())}
## Request fields beyond OpenAI's

`top_k` and `min_p` are supported as shown in the table. The other fields:

{table(("Engine", "For", "Fields"), [row for name in names for row in _fields(name)])}
## Options

For `--engine-option KEY=VALUE`, or `engine_options` in an entry of the registry.

{"".join(_options_section(name, CAPABILITIES[name].title) for name in names)}
## Engines for sound and images

Their models are recognized by their files. [Speech and transcription](../audio.md) and [images](../images.md) explain
them.

{table(("`engine`", "Reads", "Can"), map(_of_media, FOR_MEDIA))}
{"".join(_options_section(name, f"`{name}`") for name in FOR_MEDIA)}"""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _about(name: str) -> Sequence[str]:
    found = CAPABILITIES[name]
    return found.title, f"`{name}`", found.reads, found.runs_on


def _of_media(name: str) -> Sequence[str]:
    return f"`{name}`", TRAITS[name].reads, ", ".join(TRAITS[name].can)


def _facts(found: Sequence[Capabilities]) -> list[Sequence[str]]:
    def cached(each: Capabilities) -> str:
        if not each.reports_cached_tokens:
            return "yes, but not reported"
        return "all" if each.cache_tokens == 1 else f"in blocks, except at most {each.cache_tokens - 1} tokens"

    return [
        ("reuse of the beginning of a prompt", *(cached(each) for each in found)),
        ("`generation_config.json` for unset parameters", *(_yes(each.uses_generation_config) for each in found)),
        ("highest `temperature`", *(f"{each.max_temperature:g}" for each in found)),
        ("reports the length of a prompt that is too long", *(_yes(each.reports_prompt_length) for each in found)),
        ("names of special tokens in messages of users and tools", *(each.contents for each in found)),
    ]


def _keywords() -> list[Sequence[str]]:
    return [
        (words, *("checked" if key in only else "enforced" for only in CHECKED_ONLY.values()))
        for key, words in KEYWORDS.items()
    ]


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _fields(name: str) -> Iterable[Sequence[str]]:
    for task, words in TASKS.items():
        fields = sorted(ENGINES[name].fields(task) - MODELS[task].model_fields.keys())
        if fields:
            yield CAPABILITIES[name].title, words, ", ".join(f"`{field}`" for field in fields)


def _options_section(name: str, title: str) -> str:
    rows = [row for module in OPTION_PLACES.get(name, (f"{name}.engine",)) for row in _options(_module(module))]
    if not rows:
        return ""
    return f"### {title}\n\n{table(('Option', 'Default', 'Meaning'), rows)}\n"


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"modelhost.engines.{name}")


def _options(module: ModuleType) -> list[Sequence[str]]:
    """Return the options of a module's tables: their defaults, and their meaning as the comment beside each has it."""
    listed: list[tuple[Any, ...]] = _OPTION.findall("".join(_TABLE.findall(inspect.getsource(module))))
    return [(f"`{name}`", f"`{_shown(default)}`", meaning) for name, default, meaning in listed]


def _shown(default: str) -> str:
    return {"True": "true", "False": "false", "None": "null"}.get(default, default)
