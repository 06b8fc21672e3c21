"""Which LoRA adapters a request gets: what it says behind the name of its model, or in its field ``lora``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from modelhost.engines.adapters import TASKS_WITHOUT_ADAPTERS, Adapter, AdapterSelection, declared_adapters
from modelhost.engines.base import Engine
from modelhost.errors import InvalidRequest, UnsupportedParameter
from modelhost.exchange.bodies import lora_json
from modelhost.exchange.requests import AnyRequest, ChatRequest, CompletionRequest, SelectedAdapter
from modelhost.exchange.tasks import Task
from modelhost.models.residency.hosted import HostedModel

FIELD: Final = "lora"


def with_adapters(
    model: HostedModel, task: Task, request: ChatRequest | CompletionRequest, body: dict[str, Any]
) -> dict[str, Any]:
    """Return ``body``, the request as ``model`` gets it, for an answer with the adapters that ``request`` chooses.

    Raises:
        InvalidRequest: there is no such adapter, or the engine cannot apply what is chosen.
        UnsupportedParameter: models of this engine have no adapters.
    """
    if not request.lora and not model.adapter_names:
        return body
    engine = model.engine
    if engine.adapters is None:
        return _passed_on(engine, task, request.lora, body)
    wanted = _wanted(model, request)
    adapters = _adapters(model)
    return engine.adapters.applied(
        body, AdapterSelection(adapters=adapters, scales=_scales(model.name, adapters, wanted))
    )


def _passed_on(engine: Engine, task: Task, wanted: Sequence[SelectedAdapter], body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` with what is wanted as it is: whose adapters they are, the server of the model knows."""
    if wanted and FIELD not in engine.fields(task):
        raise UnsupportedParameter(f'The field "{FIELD}" is not supported by {engine.name} for {task}.', param=FIELD)
    return {**body, FIELD: lora_json(wanted)} if wanted else body


def check_without(model: HostedModel, task: Task, request: AnyRequest) -> None:
    """Check that a request that is answered without adapters names none.

    Raises:
        InvalidRequest: it does.
    """
    if (
        task in TASKS_WITHOUT_ADAPTERS
        and model.adapter_names
        and (named := model.adapter_in(request.model)) is not None
    ):
        raise InvalidRequest(
            f'model: {task} are made without adapters; name "{model.name}", not its adapter {named}.', param="model"
        )


def _wanted(model: HostedModel, request: ChatRequest | CompletionRequest) -> Sequence[SelectedAdapter]:
    named = model.adapter_in(request.model)
    if named is None:
        return request.lora
    if request.lora:
        raise InvalidRequest(
            f'lora: the model "{request.model}" names the adapter {named} already; name the others beside it in '
            f"lora, and {model.name} as the model.",
            param=FIELD,
        )
    return (SelectedAdapter(name=named),)


def _adapters(model: HostedModel) -> Sequence[Adapter]:
    """Return the adapters of a model; of one whose files nobody has looked at, as far as its settings tell."""
    return model.known.spec.lora if model.known is not None else declared_adapters(model.entry.settings.lora)


def _scales(model: str, adapters: Sequence[Adapter], wanted: Sequence[SelectedAdapter]) -> tuple[float, ...]:
    """Return the strength of each adapter: what is not chosen and not always there has none."""
    scales = [each.scale if each.name is None else 0.0 for each in adapters]
    chosen: set[int] = set()
    for each in wanted:
        place = _place(model, adapters, each)
        if place in chosen:
            raise InvalidRequest(f"lora: {adapters[place].name} is there twice.", param=FIELD)
        chosen.add(place)
        scales[place] = adapters[place].scale if each.scale is None else each.scale
    return tuple(scales)


def _place(model: str, adapters: Sequence[Adapter], wanted: SelectedAdapter) -> int:
    places = {each.name: place for place, each in enumerate(adapters) if each.name is not None}
    if not places:
        raise InvalidRequest(
            f"lora: {model} has no adapters that requests can choose; the host is given them with --lora NAME=FILE.",
            param=FIELD,
        )
    place = places.get(wanted.name) if wanted.name is not None else wanted.id
    if place is None or place not in places.values():
        what = f'adapter "{wanted.name}"' if wanted.name is not None else f"adapter with the id {wanted.id} to choose"
        there = ", ".join(f"{name} ({number})" for name, number in places.items())
        raise InvalidRequest(
            f"lora: there is no {what}. The adapters of {model} are, with their ids: {there}.", param=FIELD
        )
    return place
