"""What the endpoints share that models answer: the format of the door, the model of a request, ``keep_alive``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from modelhost.errors import ModelBusy
from modelhost.exchange.caller import Caller
from modelhost.http.endpoint import Endpoint
from modelhost.http.exchange import DoorFormat, Exchange
from modelhost.http.ollama import bodies
from modelhost.http.ollama.lines import END, KEEP_ALIVE, NDJSON, error_block, ollama_error
from modelhost.http.ollama.names import known_name
from modelhost.models.residency.hosted import HostedModel
from modelhost.operations.model_loading import LOAD, UNLOAD, LoadParameters, UnloadParameters
from modelhost.operations.perform import perform

if TYPE_CHECKING:
    from modelhost.host import Host

FORMAT: Final = DoorFormat(
    error_answer=ollama_error, error_block=error_block, end=END, content_type=NDJSON, keep_alive=KEEP_ALIVE
)


class OllamaEndpoint(Endpoint):
    """What the endpoints share."""

    def __init__(self, host: Host, operation: str) -> None:
        super().__init__(host, operation, FORMAT)

    async def find(self, exchange: Exchange, given: bodies.AnyRequest) -> tuple[HostedModel, str]:
        """Return the model that a request names, and the name by which the host knows it, with its adapter.

        Raises:
            ModelNotFound, InvalidRequest: there is none, or the name is empty.
        """
        if given.model is None:
            model = self.host.find(None)
            return model, model.name
        name = await known_name(self.host, given.model)
        model = self.host.find(name)
        exchange.model = model.name
        return model, name

    @contextmanager
    def kept(self, model: HostedModel, seconds: float | None) -> Iterator[None]:
        """At the end, let ``model`` be unloaded after so many idle seconds, if they are given."""
        try:
            yield
        finally:
            if seconds is not None:
                self.host.collection.keep(model, seconds)

    async def load(self, model: HostedModel, caller: Caller) -> None:
        """Load a model, and return when it is ready."""
        if not self.host.collection.is_loaded(model):
            await perform(self.host, LOAD, LoadParameters(model_id=model.name, wait=True), caller)

    async def unload(self, model: HostedModel, caller: Caller) -> None:
        """Unload a model, or if it is at work, have it unloaded after that."""
        try:
            await perform(self.host, UNLOAD, UnloadParameters(model_id=model.name), caller)
        except ModelBusy:
            self.host.collection.keep(model, 0)
