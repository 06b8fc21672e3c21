"""The resources of each area."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

import mcp_types as types
import orjson

from modelhost.client.host_client import HostClient
from modelhost.mcp_servers.faces import Area
from modelhost.operations import models, monitor, state
from modelhost.operations.models import LogParameters, OneModel
from modelhost.operations.monitor import GET_ALERTS, AlertParameters, MetricParameters, seconds_in
from modelhost.operations.operation import NoParameters, Operation, P, Result
from modelhost.operations.state import OneLabel

JSON: Final = "application/json"
IN_ADDRESSES: Final = "/:@._-~"
"""Characters that need no quoting in a URI, besides letters and digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of resource, identified by the name in its URI."""

    area: Area
    address: str
    """The URI template; the form without a scheme is the seed's, which is accepted too."""
    title: str
    description: str
    read: Callable[[HostClient, str], Awaitable[Mapping[str, Any]]]
    """Reads the resource of a name; raises a :class:`ModelhostError`."""
    listed: Callable[[HostClient], Awaitable[tuple[str, ...]]]
    """Returns the names of the resources to list."""
    changing: Callable[[Mapping[str, Any]], Any] | None = None
    """Returns what of its contents makes them others than before; ``None``: it cannot be subscribed to."""

    @property
    def seed_address(self) -> str:
        """The address without a scheme."""
        return self.address.replace("://", "/").replace("{+", "{")

    @property
    def has_name(self) -> bool:
        """Whether the URI contains a name."""
        return "{" in self.address

    def named_in(self, uri: str) -> str | None:
        """Return the name in ``uri`` if it is of this kind."""
        for address in (self.address, self.seed_address):
            before, _, after = re.sub(r"\{.*\}", "\0", address).partition("\0")
            pattern = f"{re.escape(before)}(.+){re.escape(after)}" if self.has_name else f"{re.escape(address)}()"
            if found := re.fullmatch(pattern, uri):
                return unquote(found[1])
        return None

    def address_of(self, name: str) -> str:
        return re.sub(r"\{.*\}", lambda _: quote(name, safe=IN_ADDRESSES), self.address)


async def _config(backend: HostClient, model: str) -> Mapping[str, Any]:
    info = await backend.run(models.INFO, OneModel(model_id=model))
    return {"model_id": info.model_id, **info.config.model_dump(mode="json")}


async def _models(backend: HostClient) -> tuple[str, ...]:
    known = await backend.run(models.LIST, NoParameters())
    return tuple(model.id for model in known.models)


def _result_of(
    operation: Operation[P, Any], parameters: Callable[[str], P]
) -> Callable[[HostClient, str], Awaitable[Mapping[str, Any]]]:
    """Return what reads the result of ``operation``, as JSON, with the ``parameters`` of a name."""

    async def read(backend: HostClient, name: str) -> Mapping[str, Any]:
        result: Result = await backend.run(operation, parameters(name))
        return result.model_dump(mode="json")

    return read


async def _past_metrics(backend: HostClient, duration: str) -> Mapping[str, Any]:
    parameters = MetricParameters(duration_seconds=seconds_in(duration), include_history=True)
    return (await backend.run(monitor.GET_METRICS, parameters)).model_dump(mode="json")


async def _active_alerts(backend: HostClient, _nothing: str) -> Mapping[str, Any]:
    return {"alerts": (await backend.run(GET_ALERTS, AlertParameters(limit=0))).model_dump(mode="json")["active"]}


def _figures(report: Mapping[str, Any]) -> Any:
    """Return what requests and models did, without the time of the report and what the machine does besides."""
    own = {name: value for name, value in report["metrics"].items() if name not in {"memory", "gpu"}}
    return own, report["models"]


async def _one(_backend: HostClient) -> tuple[str, ...]:
    return ("",)  # a single resource without a name


async def _none(_backend: HostClient) -> tuple[str, ...]:
    return ()


KINDS: Final = (
    Kind(
        area="models",
        address="model://{+model_id}/config",
        title="Configuration of a model",
        description="A model's configuration and its request defaults.",
        read=_config,
        listed=_models,
    ),
    Kind(
        area="models",
        address="model://{+model_id}/logs",
        title="Log of a model",
        description="The last log lines and events of a model.",
        read=_result_of(models.LOGS, lambda model: LogParameters(model_id=model)),
        listed=_models,
    ),
    Kind(
        area="state",
        address="state://sessions",
        title="Saved sessions",
        description="The names of saved states, each with its states.",
        read=_result_of(state.LIST_STATES, lambda _: NoParameters()),
        listed=_one,
    ),
    Kind(
        area="state",
        address="state://session/{session_id}/summary",
        title="Saved session",
        description="The saved states and the session of a name.",
        read=_result_of(state.STATE_SUMMARY, lambda name: OneLabel(session_id=name)),
        listed=_none,
    ),
    Kind(
        area="monitor",
        address="metrics://current",
        title="Current metrics",
        description="The performance of the host and of its models in the last minute.",
        read=_result_of(monitor.GET_METRICS, lambda _: MetricParameters()),
        listed=_one,
        changing=_figures,
    ),
    Kind(
        area="monitor",
        address="metrics://history/{duration}",
        title="History of metrics",
        description="Their performance over a time, such as `300` (seconds), `15m`, `6h` or `7d`, with its course.",
        read=_past_metrics,
        listed=_none,
        changing=_figures,
    ),
    Kind(
        area="monitor",
        address="alerts://active",
        title="Active alerts",
        description="The alerts that are pending or firing.",
        read=_active_alerts,
        listed=_one,
        changing=lambda listed: listed["alerts"],
    ),
)


class Resources:
    def __init__(self, areas: Iterable[Area], backend: HostClient) -> None:
        wanted = frozenset(areas)
        self._backend = backend
        self._kinds = tuple(kind for kind in KINDS if kind.area in wanted)

    async def listed(self) -> list[types.Resource]:
        """Return those that there are now; raises a :class:`ModelhostError`."""
        found = []
        for kind in self._kinds:
            for name in await kind.listed(self._backend):
                uri = kind.address_of(name)
                found.append(
                    types.Resource(
                        uri=uri,
                        name=uri.replace("://", "/"),
                        title=f"{kind.title}: {name}" if name else kind.title,
                        description=kind.description,
                        mime_type=JSON,
                    )
                )
        return found

    def templates(self) -> list[types.ResourceTemplate]:
        """Return the URI templates, with a scheme and in the seed's form."""
        return [
            types.ResourceTemplate(
                uri_template=address,
                name=kind.seed_address if address == kind.address else f"{address} (short)",
                title=kind.title,
                description=kind.description,
                mime_type=JSON,
            )
            for kind in self._kinds
            for address in (kind.address, kind.seed_address)
            # One that stands in the list need not be a template too; the seed's cannot stand there.
            if kind.has_name or address == kind.seed_address
        ]

    async def read(self, uri: str) -> types.TextResourceContents | None:
        """Return the contents of ``uri``, nothing if it is no address of here; raises a :class:`ModelhostError`."""
        if (found := self._find(uri)) is None:
            return None
        kind, name = found
        text = orjson.dumps(await kind.read(self._backend, name)).decode()
        return types.TextResourceContents(uri=uri, mime_type=JSON, text=text)

    @property
    def have_changes(self) -> bool:
        """Whether any of them can be subscribed to."""
        return any(kind.changing is not None for kind in self._kinds)

    def can_change(self, uri: str) -> bool:
        """Whether ``uri`` can be subscribed to."""
        found = self._find(uri)
        return found is not None and found[0].changing is not None

    async def changing_contents(self, uri: str) -> Any:
        """Return what is compared to find out whether ``uri`` has changed; raises a :class:`ModelhostError`."""
        found = self._find(uri)
        assert found is not None
        kind, name = found
        assert kind.changing is not None
        return kind.changing(await kind.read(self._backend, name))

    def _find(self, uri: str) -> tuple[Kind, str] | None:
        for kind in self._kinds:
            if (name := kind.named_in(uri)) is not None:
                return kind, name
        return None
