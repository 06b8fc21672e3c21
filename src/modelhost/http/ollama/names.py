"""The names that clients of Ollama's API have for the models of the host.

``name``, ``name:latest`` and, where the tag is the quantization of the model, ``name:tag`` are one model; so are
``hf.co/org/name:tag`` and the model of that repository, whatever the host calls it, and a well-known name of Ollama's
library and its repository (:data:`FAMILIES`). A name of the host with an adapter behind the colon
stays one. As in Ollama, ``library/name`` is ``name``, and names may be written in any case; exact ones win.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from modelhost.engines.adapters import adapter_model_name
from modelhost.errors import InvalidRequest, ModelhostError, ModelNotFound
from modelhost.models.hub.references import HubReference
from modelhost.models.registry.admission import reference_of
from modelhost.models.registry.created import LONGEST_NAME
from modelhost.models.residency.collection import LATEST
from modelhost.models.residency.hosted import HostedModel

if TYPE_CHECKING:
    from modelhost.host import Host

QUANTIZATION: Final = re.compile(r"i?q\d\w*|b?f16|fp16|f32", re.IGNORECASE)
"""The last part of a tag, such as ``3b-instruct-q4_K_M``."""
TUNINGS: Final = frozenset({"chat", "instruct", "it"})
"""Parts of tags that say what all of these models are."""
SIZES: Final = "SIZE"


@dataclass(frozen=True, slots=True)
class Family:
    """A family of models: its repositories by the size in the tag, and the size without a tag."""

    latest: str
    repositories: Mapping[str, str]


def _family(latest: str, pattern: str, **named: str) -> Family:
    """Return a family whose repositories have the words of ``named`` in the place of ``SIZE``, by their sizes."""
    sizes = {name.strip("_").replace("_", "."): word for name, word in named.items()}
    return Family(latest, {size: pattern.replace(SIZES, word) for size, word in sizes.items()})


FAMILIES: Final[Mapping[str, Family]] = {
    "codellama": _family("7b", "TheBloke/CodeLlama-SIZE-Instruct-GGUF", _7b="7B", _13b="13B", _34b="34B"),
    "deepseek-coder-v2": _family("16b", "bartowski/DeepSeek-Coder-V2-SIZE-Instruct-GGUF", _16b="Lite"),
    "deepseek-r1": _family(
        "8b",
        "bartowski/DeepSeek-R1-Distill-SIZE-GGUF",
        _1_5b="Qwen-1.5B",
        _7b="Qwen-7B",
        _8b="Llama-8B",
        _14b="Qwen-14B",
        _32b="Qwen-32B",
        _70b="Llama-70B",
    ),
    "gemma2": _family("9b", "bartowski/gemma-2-SIZE-it-GGUF", _2b="2b", _9b="9b", _27b="27b"),
    "gemma3": _family("4b", "ggml-org/gemma-3-SIZE-it-GGUF", _1b="1b", _4b="4b", _12b="12b", _27b="27b"),
    "gpt-oss": _family("20b", "ggml-org/gpt-oss-SIZE-GGUF", _20b="20b", _120b="120b"),
    "granite3.3": _family("8b", "ibm-granite/granite-3.3-SIZE-instruct-GGUF", _2b="2b", _8b="8b"),
    "hermes3": _family("8b", "NousResearch/Hermes-3-Llama-SIZE-GGUF", _3b="3.2-3B", _8b="3.1-8B"),
    "llama2": _family("7b", "TheBloke/Llama-2-SIZE-GGUF", _7b="7B-Chat", _13b="13B-chat", _70b="70B-Chat"),
    "llama3": _family("8b", "bartowski/Meta-Llama-3-SIZE-Instruct-GGUF", _8b="8B", _70b="70B"),
    "llama3.1": _family("8b", "bartowski/Meta-Llama-3.1-SIZE-Instruct-GGUF", _8b="8B", _70b="70B"),
    "llama3.2": _family("3b", "bartowski/Llama-3.2-SIZE-Instruct-GGUF", _1b="1B", _3b="3B"),
    "llama3.3": _family("70b", "bartowski/Llama-3.3-SIZE-Instruct-GGUF", _70b="70B"),
    "mistral": _family("7b", "bartowski/Mistral-SIZE-Instruct-v0.3-GGUF", _7b="7B"),
    "mistral-nemo": _family("12b", "bartowski/Mistral-SIZE-Instruct-2407-GGUF", _12b="Nemo"),
    "mistral-small": _family(
        "24b", "bartowski/Mistral-Small-SIZE-GGUF", _22b="Instruct-2409", _24b="24B-Instruct-2501"
    ),
    "mixtral": _family("8x7b", "TheBloke/Mixtral-SIZE-Instruct-v0.1-GGUF", _8x7b="8x7B"),
    "nomic-embed-text": _family("v1.5", "nomic-ai/nomic-embed-text-SIZE-GGUF", v1_5="v1.5"),
    "olmo2": _family("7b", "allenai/OLMo-2-1124-SIZE-Instruct-GGUF", _7b="7B", _13b="13B"),
    "openchat": _family("7b", "TheBloke/openchat-SIZE-GGUF", _7b="3.5-0106"),
    "phi3.5": _family("3.8b", "bartowski/Phi-3.5-SIZE-instruct-GGUF", _3_8b="mini"),
    "phi4": _family("14b", "bartowski/phi-SIZE-GGUF", _14b="4"),
    "phi4-mini": _family("3.8b", "bartowski/microsoft_Phi-4-SIZE-instruct-GGUF", _3_8b="mini"),
    "qwen2": _family("7b", "Qwen/Qwen2-SIZE-Instruct-GGUF", _0_5b="0.5B", _1_5b="1.5B", _7b="7B", _72b="72B"),
    "qwen2.5": _family(
        "7b",
        "Qwen/Qwen2.5-SIZE-Instruct-GGUF",
        _0_5b="0.5B",
        _1_5b="1.5B",
        _3b="3B",
        _7b="7B",
        _14b="14B",
        _32b="32B",
        _72b="72B",
    ),
    "qwen2.5-coder": _family(
        "7b",
        "Qwen/Qwen2.5-Coder-SIZE-Instruct-GGUF",
        _0_5b="0.5B",
        _1_5b="1.5B",
        _3b="3B",
        _7b="7B",
        _14b="14B",
        _32b="32B",
    ),
    "qwen2.5vl": _family("7b", "ggml-org/Qwen2.5-VL-SIZE-Instruct-GGUF", _3b="3B", _7b="7B"),
    "qwen3": _family(
        "8b",
        "Qwen/Qwen3-SIZE-GGUF",
        _0_6b="0.6B",
        _1_7b="1.7B",
        _4b="4B",
        _8b="8B",
        _14b="14B",
        _30b="30B-A3B",
        _32b="32B",
    ),
    "qwen3-embedding": _family("8b", "Qwen/Qwen3-Embedding-SIZE-GGUF", _0_6b="0.6B", _4b="4B", _8b="8B"),
    "qwq": _family("32b", "Qwen/QwQ-SIZE-GGUF", _32b="32B"),
    "smollm2": _family("1.7b", "HuggingFaceTB/SmolLM2-SIZE-Instruct-GGUF", _360m="360M", _1_7b="1.7B"),
    "solar": _family("10.7b", "TheBloke/SOLAR-SIZE-Instruct-v1.0-GGUF", _10_7b="10.7B"),
    "tinyllama": _family("1.1b", "TheBloke/TinyLlama-SIZE-Chat-v1.0-GGUF", _1_1b="1.1B"),
    "vicuna": _family("7b", "TheBloke/vicuna-SIZE-v1.5-GGUF", _7b="7B", _13b="13B"),
    "zephyr": _family("7b", "TheBloke/zephyr-SIZE-beta-GGUF", _7b="7B"),
}
"""By the name without a tag, in lower case."""


def library_reference(name: str) -> HubReference | None:
    """Return the model of the hub that ``name`` means in Ollama's library; ``None``: the name is not known here.

    A tag is a size, possibly with a tuning and a quantization behind dashes.
    """
    family_name, _, tag = name.lower().removeprefix("library/").partition(":")
    family = FAMILIES.get(family_name)
    if family is None:
        return None
    parts = tag.split("-") if tag and tag != "latest" else []
    wanted = parts.pop() if parts and QUANTIZATION.fullmatch(parts[-1]) else None
    size = parts.pop(0) if parts else family.latest
    repository = family.repositories.get(size)
    if repository is None or not TUNINGS.issuperset(parts):
        return None
    return HubReference(repository=repository, wanted=None if wanted is None else wanted.upper().replace("FP16", "F16"))


MODEL: Final = "model"
"""The field in which most requests name one."""
TAG: Final = f":{LATEST}"
NEW_NAME: Final = re.compile(r"\w[\w.-]*(/\w[\w.-]*){0,3}(:\w[\w.-]*)?", re.ASCII)
LIBRARY: Final = ("registry.ollama.ai/library/", "library/")
HUBS: Final = ("hf.co/", "huggingface.co/", "https://hf.co/", "https://huggingface.co/")


def plain_name(name: str) -> str:
    """Return ``name`` without the tag ``latest`` and without the host of the hub, or that of Ollama's library.

    Raises:
        InvalidRequest: it is empty.
    """
    plain = name.strip().removesuffix(TAG)
    plain = next((plain[len(start) :] for start in (*HUBS, *LIBRARY) if plain.lower().startswith(start)), plain)
    if not plain:
        raise InvalidRequest("The name of a model is missing.", param=MODEL)
    return plain


def new_name(name: str) -> str:
    """Return ``name`` as that of a model to be made; raises InvalidRequest if it is none."""
    plain = plain_name(name)
    if len(plain) > LONGEST_NAME:
        raise InvalidRequest(f"The name of a model has at most {LONGEST_NAME} characters.", param=MODEL)
    if NEW_NAME.fullmatch(plain) is None:
        raise InvalidRequest(
            f'"{plain}" is no name for a model: it has letters, digits, dots, dashes and underscores, with slashes '
            "between its parts and possibly a tag behind a colon.",
            param=MODEL,
        )
    return plain


@contextmanager
def given_as(field: str) -> Iterator[None]:
    """Have errors about a model name ``field`` of the request, in which the client names it."""
    try:
        yield
    except ModelhostError as error:
        if error.param == MODEL:
            error.param = field
        raise


def shown_name(model: HostedModel, adapter: str | None = None) -> str:
    """Return the name of a model of the host, or of the model with an adapter, as Ollama lists it: with a tag.

    Models that have their names from the hub are listed with its address before them.
    """
    name = model.name if adapter is None else adapter_model_name(model.name, adapter)
    reference = _own_reference(model)
    if reference is not None and reference.id == model.name:
        name = HUBS[0] + name
    return name if adapter is not None else tagged(name)


def tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else name + TAG


def hub_reference(name: str) -> HubReference | None:
    """Return the model of the hub that ``name`` means; ``None``: neither an id of the hub nor a well-known name."""
    plain = plain_name(name)
    return library_reference(plain) or reference_of(plain)


async def known_name(host: Host, name: str) -> str:
    """Return the name of the model of ``host`` that ``name`` means, with the adapter that it names, if it does.

    Nothing is downloaded.

    Raises:
        ModelNotFound: there is none; the message says how to get it.
    """
    plain = plain_name(name)
    for each in dict.fromkeys((name, name.strip().removesuffix(TAG), plain)):
        if (model := _found(host, each)) is not None:
            return model.name if model.adapter_in(each) is None else each
    if (own := _in_any_case(host, plain)) is not None:
        return own
    reference = hub_reference(name)
    if reference is not None and (model := _of_reference(host, reference)) is not None:
        return model.name
    if (model := await _by_quantization(host, plain, reference)) is not None:
        return model.name
    raise _not_here(host, name, reference)


async def hosted(host: Host, name: str) -> HostedModel:
    """Return the model of ``host`` that ``name`` means; raises as :func:`known_name`."""
    return host.find(await known_name(host, name))


def _found(host: Host, name: str) -> HostedModel | None:
    try:
        return host.find(name)
    except ModelNotFound:
        return None


def _in_any_case(host: Host, name: str) -> str | None:
    """Return the main name, or the name with an adapter, of the model that ``name`` is but for its case."""
    wanted = name.lower()
    for model in host.models:
        if wanted in (own.lower() for own in (model.name, *model.aliases)):
            return model.name
        found = next((own for own in model.names_with_adapters if own.lower() == wanted), None)
        if found is not None:
            return found
    return None


def _of_reference(host: Host, wanted: HubReference) -> HostedModel | None:
    """Return the model of the host that is ``wanted``, whatever it is called; clients write its name in any case."""
    for model in host.models:
        own = _own_reference(model)
        if own is not None and own.id.lower() == wanted.id.lower():
            return model
    return None


def _own_reference(model: HostedModel) -> HubReference | None:
    return reference_of(model.entry.settings.model, model.entry.settings.revision)


async def _by_quantization(host: Host, name: str, reference: HubReference | None) -> HostedModel | None:
    """Return the model that ``name`` is with its quantization as the tag."""
    base, _, tag = name.rpartition(":")
    known = _in_any_case(host, base) if base else None
    model = None if known is None else host.find(known)
    if model is None and reference is not None and reference.wanted is not None:
        model, tag = _of_reference(host, replace(reference, wanted=None)), reference.wanted
    if model is None:
        return None
    if model.quantization is None:
        await host.refresh_previews()
    return model if (model.quantization or "").lower() == tag.lower() else None


def _not_here(host: Host, name: str, reference: HubReference | None) -> ModelNotFound:
    known = ", ".join(sorted(shown_name(model) for model in host.models)) or "none at all"
    if reference is not None:
        way_out = f"Pull it first, which downloads {reference.id} from the hub."
    else:
        family = plain_name(name).partition(":")[0].lower()
        sizes = ", ".join(FAMILIES[family].repositories) if family in FAMILIES else ""
        way_out = (
            f"The sizes of {family} that this host knows are {sizes}."
            if sizes
            else "The name says nothing to this host, which downloads from the Hugging Face hub: pull a repository "
            "there, such as hf.co/org/name:Q4_K_M."
        )
    return ModelNotFound(f'model "{name}" not found. {way_out} Available: {known}.', param=MODEL, model=name)
