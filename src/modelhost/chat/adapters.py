"""The LoRA adapters of a request: named after its model (``model:adapter``), or in its field ``lora``."""

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
    """Return ``body``, the request as ``model`` gets it, with the adapters that ``request`` selects.

    Raises:
        InvalidRequest: there is no such adapter, or the engine cannot apply the selection.
        UnsupportedParameter: the engine does not support adapters.
    """
    if not request.lora and not model.adapter_names:
        return body
    engine = model.engine
    if engine.adapters is None:
        return _passed_through(engine, task, request.lora, body)
    selected = _selected(model, request)
    adapters = _adapters(model)
    return engine.adapters.applied(
        body, AdapterSelection(adapters=adapters, scales=_scales(model.name, adapters, selected))
    )


def _passed_through(
    engine: Engine, task: Task, selected: Sequence[SelectedAdapter], body: dict[str, Any]
) -> dict[str, Any]:
    """Return ``body`` with the adapters as requested: the model's server resolves them."""
    if selected and FIELD not in engine.fields(task):
        raise UnsupportedParameter(f'The field "{FIELD}" is not supported by {engine.name} for {task}.', param=FIELD)
    return {**body, FIELD: lora_json(selected)} if selected else body


def check_no_adapter(model: HostedModel, task: Task, request: AnyRequest) -> None:
    """Check that a request for a task that ignores adapters names none.

    Raises:
        InvalidRequest: it names one.
    """
    if (
        task in TASKS_WITHOUT_ADAPTERS
        and model.adapter_names
        and (named := model.adapter_in(request.model)) is not None
    ):
        raise InvalidRequest(
            f'model: {task} are made without adapters; name "{model.name}", not its adapter {named}.', param="model"
        )


def _selected(model: HostedModel, request: ChatRequest | CompletionRequest) -> Sequence[SelectedAdapter]:
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
    """Return the adapters of a model, from its settings if its files have not been inspected yet."""
    return model.known.spec.lora if model.known is not None else declared_adapters(model.entry.settings.lora)


def _scales(model: str, adapters: Sequence[Adapter], selected: Sequence[SelectedAdapter]) -> tuple[float, ...]:
    """Return the scale of each adapter: 0 for one that is neither selected nor always applied."""
    scales = [each.scale if each.name is None else 0.0 for each in adapters]
    chosen: set[int] = set()
    for each in selected:
        place = _place(model, adapters, each)
        if place in chosen:
            raise InvalidRequest(f"lora: {adapters[place].name} is there twice.", param=FIELD)
        chosen.add(place)
        scales[place] = adapters[place].scale if each.scale is None else each.scale
    return tuple(scales)


def _place(model: str, adapters: Sequence[Adapter], selected: SelectedAdapter) -> int:
    places = {each.name: place for place, each in enumerate(adapters) if each.name is not None}
    if not places:
        raise InvalidRequest(
            f"lora: {model} has no adapters that requests can choose; the host is given them with --lora NAME=FILE.",
            param=FIELD,
        )
    place = places.get(selected.name) if selected.name is not None else selected.id
    if place is None or place not in places.values():
        by_id = f"adapter with the id {selected.id} to choose"
        what = by_id if selected.name is None else f'adapter "{selected.name}"'
        there = ", ".join(f"{name} ({number})" for name, number in places.items())
        raise InvalidRequest(
            f"lora: there is no {what}. The adapters of {model} are, with their ids: {there}.", param=FIELD
        )
    return place
