"""The tools of each area, generated from the operations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import mcp_types as types

from modelhost.client.host_client import HostClient, SoundClient
from modelhost.errors import InvalidRequest, ModelhostError
from modelhost.mcp_servers import schemas
from modelhost.mcp_servers.chat_tool import AUDITED, ChatDefaults, chat_completion
from modelhost.mcp_servers.errors import error_result
from modelhost.mcp_servers.faces import Area
from modelhost.mcp_servers.host_tool import CallContext, HostTool, ToolOutcome
from modelhost.mcp_servers.media_tools import image_tool, sound_tools
from modelhost.mcp_servers.schemas import MANY, ONE
from modelhost.operations import llm, machine_stats, model_loading, models, monitor, state
from modelhost.operations.operation import (
    AnyOperation,
    CombinedProgress,
    OnProgress,
    audited,
    ignore_progress,
    parsed,
)

OPERATIONS: Final[Mapping[Area, tuple[AnyOperation, ...]]] = {
    "llm": (llm.MODEL_INFO,),
    "models": (
        models.LIST,
        model_loading.LOAD,
        model_loading.UNLOAD,
        models.INFO,
        model_loading.CONFIGURE,
        model_loading.PULL,
    ),
    "state": (state.SAVE, state.LOAD, state.CLEAR),
    "monitor": (monitor.GET_METRICS, machine_stats.GET_GPU_STATS, machine_stats.GET_MEMORY_STATS),
}
SEVERAL: Final = frozenset(
    {model_loading.LOAD.name, model_loading.UNLOAD.name, models.INFO.name, model_loading.CONFIGURE.name}
)
"""Operations that take several models at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hints:
    is_destructive: bool = False
    is_idempotent: bool = True
    is_open_world: bool = False
    """Whether it accesses external systems."""


HINTS: Final[Mapping[str, _Hints]] = {
    model_loading.LOAD.name: _Hints(is_open_world=True),
    model_loading.UNLOAD.name: _Hints(is_destructive=True),
    model_loading.PULL.name: _Hints(is_open_world=True),
    state.SAVE.name: _Hints(is_idempotent=False),
    state.LOAD.name: _Hints(is_destructive=True),
    state.CLEAR.name: _Hints(is_destructive=True),
}
"""For operations that change something; by default they are idempotent and not destructive."""


def make_tools(
    areas: Iterable[Area], backend: SoundClient, defaults: ChatDefaults, *, reads_files: bool = False
) -> dict[str, HostTool]:
    """Return the tools of ``areas`` by name, in the order of the table.

    If ``reads_files``, arguments may be paths of this machine.
    """
    wanted = frozenset(areas)
    found = [_chat(backend, defaults)] if "llm" in wanted else []
    found += [*sound_tools(backend, reads_files=reads_files), image_tool(backend)] if "llm" in wanted else []
    for area, operations in OPERATIONS.items():
        if area in wanted:
            found += [_tool(operation, backend, defaults) for operation in operations]
    return {tool.definition.name: tool for tool in found}


def _tool(operation: AnyOperation, backend: HostClient, defaults: ChatDefaults) -> HostTool:
    if operation is llm.MODEL_INFO:
        return _made(operation, _with_defaults(backend, defaults))
    if operation.name in SEVERAL:
        return _several(operation, backend)

    async def work(arguments: Mapping[str, Any], reader: CallContext) -> ToolOutcome:
        return ToolOutcome(structured=await _run(operation, backend, arguments, reader.on_progress))

    return _made(operation, work)


async def _run(
    operation: AnyOperation,
    backend: HostClient,
    arguments: Mapping[str, Any],
    on_progress: OnProgress = ignore_progress,
) -> dict[str, Any]:
    result = await backend.run(operation, operation.parse(arguments), on_progress)
    shown: dict[str, Any] = result.model_dump(mode="json", by_alias=True)
    return shown


def _made(
    operation: AnyOperation,
    work: Callable[[Mapping[str, Any], CallContext], Awaitable[ToolOutcome]],
    *,
    input_schema: schemas.Schema | None = None,
    output_schema: schemas.Schema | None = None,
    more_names: tuple[str, ...] = (),
) -> HostTool:
    hints = HINTS.get(operation.name, _Hints())
    title = operation.name.replace("-", " ").replace("_", " ").capitalize()
    return HostTool(
        definition=types.Tool(
            name=operation.name,
            title=title,
            description=f"{operation.summary}.",
            input_schema=input_schema or schemas.input_schema(operation.parameters),
            output_schema=output_schema or schemas.with_failure(schemas.output_schema(operation.result)),
            annotations=types.ToolAnnotations(
                title=title,
                read_only_hint=operation.is_read_only,
                destructive_hint=not operation.is_read_only and hints.is_destructive,
                idempotent_hint=operation.is_read_only or hints.is_idempotent,
                open_world_hint=hints.is_open_world,
            ),
        ),
        names=schemas.parameter_names(operation.parameters).union(more_names),
        kept=replace(operation, audited=(*operation.audited, *more_names)).audited_in,
        work=work,
        reports_progress=operation.reports_progress,
    )


# Chat.


def _chat(backend: HostClient, defaults: ChatDefaults) -> HostTool:
    async def work(arguments: Mapping[str, Any], reader: CallContext) -> ToolOutcome:
        parameters = parsed(llm.CHAT, llm.ChatParameters, arguments)
        result = await chat_completion(backend, defaults, parameters, depth=reader.depth, tell=reader.tell)
        return ToolOutcome(structured=result.model_dump(mode="json"), text=result.content)

    return HostTool(
        definition=types.Tool(
            name=llm.CHAT,
            title="Chat completion",
            description="Generate the next message of a conversation. With `session_id`, the host stores the "
            "conversation: send only new messages.",
            input_schema=schemas.input_schema(llm.ChatParameters),
            output_schema=schemas.with_failure(schemas.output_schema(llm.ChatResult)),
            annotations=types.ToolAnnotations(
                title="Chat completion",
                read_only_hint=False,  # a session grows, and the host's own tools run
                destructive_hint=False,
                idempotent_hint=False,
                open_world_hint=True,
            ),
        ),
        names=schemas.parameter_names(llm.ChatParameters),
        kept=partial(audited, AUDITED),
        work=work,
    )


def _with_defaults(
    backend: HostClient, defaults: ChatDefaults
) -> Callable[[Mapping[str, Any], CallContext], Awaitable[ToolOutcome]]:
    async def work(arguments: Mapping[str, Any], _reader: CallContext) -> ToolOutcome:
        given = arguments if arguments.keys() & {"model", ONE} or defaults.model is None else {"model": defaults.model}
        info = await _run(llm.MODEL_INFO, backend, given)
        own = {
            "default_temperature": defaults.temperature,
            "default_max_tokens": defaults.max_tokens,
            "max_model_len": defaults.max_model_len if info["max_model_len"] is None else None,
            "gpu_memory_utilization": None
            if defaults.gpu_memory_utilization is None
            else f"{defaults.gpu_memory_utilization:g}",
        }
        return ToolOutcome(structured={**info, **{name: value for name, value in own.items() if value is not None}})

    return work


# Several models at once.


def _several(operation: AnyOperation, backend: HostClient) -> HostTool:
    async def work(arguments: Mapping[str, Any], reader: CallContext) -> ToolOutcome:
        rest = dict(arguments)
        if MANY not in rest:
            return ToolOutcome(structured=await _run(operation, backend, rest, reader.on_progress))
        names = _checked(rest.pop(MANY), rest)
        shares = CombinedProgress(len(names), reader.on_progress)
        results = await asyncio.gather(
            *(
                _one_of_several(operation, backend, {**rest, ONE: name}, shares.of(place))
                for place, name in enumerate(names)
            )
        )
        return ToolOutcome(
            structured={"success": all(one.get("success", True) for one in results), "results": list(results)}
        )

    return _made(
        operation,
        work,
        input_schema=schemas.several_input_schema(schemas.input_schema(operation.parameters)),
        output_schema=schemas.several_output_schema(schemas.output_schema(operation.result)),
        more_names=(MANY,),
    )


def _checked(names: Any, rest: Mapping[str, Any]) -> list[str]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise InvalidRequest(f"{MANY}: it has to be a list of names of models.", param=MANY)
    if rest.keys() & {ONE, "model"}:
        raise InvalidRequest(f"Give either {ONE} or {MANY}.", param=MANY)
    return list(dict.fromkeys(names))


async def _one_of_several(
    operation: AnyOperation, backend: HostClient, arguments: dict[str, Any], on_progress: OnProgress
) -> dict[str, Any]:
    try:
        return await _run(operation, backend, arguments, on_progress)
    except ModelhostError as error:
        return {ONE: arguments[ONE], **error_result(error, tool=operation.name)}
