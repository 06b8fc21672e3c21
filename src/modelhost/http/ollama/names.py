"""The names that clients of Ollama's API have for the models of the host.

``name``, ``name:latest`` and, where the tag is the quantization of the model, ``name:tag`` are one model; so are
``hf.co/org/name:tag`` and the model of that repository, whatever the host calls it, and a well-known name of Ollama's
library and its repository (:mod:`modelhost.http.ollama.library`). A name of the host with an adapter behind the colon
stays one. As in Ollama, ``library/name`` is ``name``, and names may be written in any case; exact ones win.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from modelhost.engines.adapters import adapter_model_name
from modelhost.errors import InvalidRequest, ModelhostError, ModelNotFound
from modelhost.http.ollama.library import FAMILIES, library_reference
from modelhost.models.hub.references import HubReference
from modelhost.models.registry.admission import reference_of
from modelhost.models.registry.created import LONGEST_NAME
from modelhost.models.residency.collection import LATEST
from modelhost.models.residency.hosted import HostedModel

if TYPE_CHECKING:
    from modelhost.host import Host

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
    """Return the name of a model with a tag."""
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
