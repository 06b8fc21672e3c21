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

An engine is chosen by `--engine`, by `engine` in an entry of the registry, or else by the model's format and the
machine:

- GGUF gets llama.cpp.
- Safetensors get MLX on Apple silicon, vLLM where there is a GPU of NVIDIA's, mistral.rs where the engine option `isq`
  asks for weights that are quantized while they are loaded, otherwise transformers. Where that is not installed, the
  first of {_listed(SAFETENSORS)} takes its place, and the log says so
  (`engine_is_second_choice`). Where there is none, the error names what to install, and nothing is downloaded.
- A base URL is a server elsewhere.

Of a model on the hub the list of its files tells the format: a GGUF file is taken where there is one, unless the engine
reads safetensors, or the model is named `org/name:safetensors`.

`modelhost engines list` says which engines are installed and how the others are had: `modelhost engines install vllm`
(or `mistralrs`) makes an environment for one that cannot share the host's, the others are extras of modelhost
(`pip install 'modelhost[transformers]'`, `[mlx]`).

{table(("Engine", "`engine`", "Reads", "Runs on"), [_about(name) for name in names])}
## What they can do

The same request gets the same treatment whatever the engine. *yes*: the engine does it; *host*: the host does it in the
engine's place; *no*: the request is refused with 400 `unsupported_parameter` or `unsupported_operation`. Nothing is
ignored in silence. The tests ask every engine for each line.

{table(("Asked for", *(CAPABILITIES[name].title for name in names)), features)}
{table(("Besides", *(CAPABILITIES[name].title for name in names)), _facts([CAPABILITIES[name] for name in names]))}
## JSON schemas

What engines make of an answer's JSON schema. *enforced*: the engine writes no other token. *checked*: the answer may
differ from it, and is then asked for again (twice at most, where it does not stream and the same request may be
answered in another way), or ends with the finish detail `schema_violated`. What is enforced is checked, too. A
`llama-server` and builds of llama.cpp without llguidance enforce less, a server elsewhere what it likes; their answers
are checked likewise.

{table(("Keywords", *(CAPABILITIES[name].title for name in CHECKED_ONLY)), _keywords())}
## Request fields beyond OpenAI's

`top_k` and `min_p` are taken wherever the table says so. The others:

{table(("Engine", "For", "Fields"), [row for name in names for row in _fields(name)])}
## Options

Of `--engine-option KEY=VALUE`, or `engine_options` in an entry of the registry.

{"".join(_options_section(name) for name in names)}"""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _about(name: str) -> Sequence[str]:
    found = CAPABILITIES[name]
    return found.title, f"`{name}`", found.reads, found.runs_on


def _facts(found: Sequence[Capabilities]) -> list[Sequence[str]]:
    def cached(each: Capabilities) -> str:
        if not each.reports_cached_tokens:
            return "kept, not told"
        return "all" if each.cache_tokens == 1 else f"in blocks, all but {each.cache_tokens - 1} tokens at most"

    return [
        ("what is reused of a prompt that goes on another one", *(cached(each) for each in found)),
        ("`generation_config.json` where a request is silent", *(_yes(each.uses_generation_config) for each in found)),
        ("highest `temperature`", *(f"{each.max_temperature:g}" for each in found)),
        ("tells how long a prompt is that is too long", *(_yes(each.reports_prompt_length) for each in found)),
        ("names of special tokens in what users and tools write", *(each.contents for each in found)),
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


def _options_section(name: str) -> str:
    rows = [row for module in OPTION_PLACES.get(name, (f"{name}.engine",)) for row in _options(_module(module))]
    if not rows:
        return ""
    return f"### {CAPABILITIES[name].title}\n\n{table(('Option', 'Default', 'Meaning'), rows)}\n"


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"modelhost.engines.{name}")


def _options(module: ModuleType) -> list[Sequence[str]]:
    """Return the options of a module's tables: their defaults, and their meaning as the comment beside each has it."""
    listed: list[tuple[Any, ...]] = _OPTION.findall("".join(_TABLE.findall(inspect.getsource(module))))
    return [(f"`{name}`", f"`{_shown(default)}`", meaning) for name, default, meaning in listed]


def _shown(default: str) -> str:
    return {"True": "true", "False": "false", "None": "null"}.get(default, default)
