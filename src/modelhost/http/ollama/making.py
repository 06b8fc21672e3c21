"""``POST /api/pull``, ``/api/create``, ``/api/copy`` and ``/api/push``, and ``DELETE /api/delete``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Scope

from modelhost.engines import TRAITS
from modelhost.engines.installed import default_engine
from modelhost.engines.traits import EngineTraits
from modelhost.errors import InvalidRequest, ModelFileInvalid, ModelNotFound, UnsupportedOperation, UnsupportedParameter
from modelhost.http.endpoint import Endpoint, operator_of
from modelhost.http.exchange import Exchange
from modelhost.http.ollama import model_bodies
from modelhost.http.ollama.answering_endpoint import FORMAT
from modelhost.http.ollama.description import template_of
from modelhost.http.ollama.lines import line_of
from modelhost.http.ollama.names import given_as, hub_reference, known_name, new_name, plain_name
from modelhost.http.ollama.options import check_preset, settings_and_defaults
from modelhost.http.ollama.templates import jinja_of
from modelhost.http.validation import checked
from modelhost.models.files.gguf import GgufHeader, read_header
from modelhost.models.hub.progress import DownloadProgress, FileProgress
from modelhost.operations.created_models import COPY, CREATE, DELETE
from modelhost.operations.model_loading import PULL
from modelhost.operations.operation import sending_progress
from modelhost.operations.perform import OperationCall, perform, performing

if TYPE_CHECKING:
    from modelhost.host import Host

SUCCESS: Final[dict[str, Any]] = {"status": "success"}
STATUS_FORMAT: Final = replace(FORMAT, end=line_of(SUCCESS))
"""How such answers are written."""
OnStatus = Callable[[dict[str, Any]], None]
"""Called with each step, from any thread."""


@asynccontextmanager
async def statuses(exchange: Exchange, *, is_streamed: bool | None) -> AsyncIterator[OnStatus]:
    """Yield what sends steps to the client, and send at the end that all went well.

    The answer is streamed unless ``is_streamed`` is false; then only its end is sent. An error before the first step
    is an ordinary answer.
    """
    if is_streamed is False:
        yield lambda _status: None
        await exchange.answer_json(SUCCESS)
        return

    async def send(status: dict[str, Any]) -> None:
        await exchange.write(line_of(status))

    async with exchange.event_stream():
        async with sending_progress(send) as on_status:
            yield on_status
        await exchange.write(line_of(SUCCESS))


SHORT_DIGEST: Final = 12
"""Digits of a digest in a status."""
KEPT_FILES: Final = "files-kept-in-hub-cache"
"""The note on a deleted model whose files are in the cache of the hub, where other programs may use them."""
VERIFYING: Final = "verifying sha256 digest"
Json = dict[str, Any]


class MakingEndpoint(Endpoint):
    """What the endpoints share."""

    def __init__(self, host: Host, operation: str) -> None:
        super().__init__(host, operation, STATUS_FORMAT)


class PullEndpoint(MakingEndpoint):
    """Downloads a model of the hub, which is there from then on."""

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(model_bodies.PullRequest, body)
        name = given.named
        call = OperationCall(
            operation=PULL.name, caller=operator_of(scope), kept=PULL.audited_in, values={"model": name}
        )
        with performing(self.host, call):
            reference = hub_reference(name)
            async with statuses(exchange, is_streamed=given.stream) as say:
                if reference is None:
                    await known_name(self.host, name)  # such as a model that was created here: there is nothing to do
                    return
                say({"status": "pulling manifest"})
                await self.host.created.pull(plain_name(name), reference.id, on_progress=_download_progress(say))
                say({"status": VERIFYING})
                say({"status": "writing manifest"})


def _download_progress(say: OnStatus) -> DownloadProgress:
    def report(progress: FileProgress) -> None:
        digest = progress.sha256 or progress.file
        about = {} if progress.sha256 is None else {"digest": f"sha256:{digest}"}
        counts = {"total": progress.total_bytes, "completed": progress.done_bytes}
        say({"status": f"pulling {digest[:SHORT_DIGEST] if about else digest}", **about, **counts})

    return report


class CreateEndpoint(MakingEndpoint):
    """Makes a model of another one, or of uploaded files."""

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(model_bodies.CreateRequest, body)
        name = new_name(given.named)
        _refuse_what_is_not_done(given)
        caller = operator_of(scope)
        async with statuses(exchange, is_streamed=given.stream) as say:
            source = None
            if given.source is not None:
                with given_as("from"):
                    source = await self._source(given.source, say)
            values = {**_values(given), "model_id": name, "source": source}
            if given.template:
                own = self._own_template(source, values["files"])
                unknown = self._traits(source).unknown_statements
                values["chat_template"] = await asyncio.to_thread(jinja_of, given.template, own, unknown)
            check_preset(given, values.get("context_length") or await self._context(source, values["files"]))
            await perform(self.host, CREATE, CREATE.parse(values), caller)
            for digest in (*values["files"], *values["adapters"]):
                say({"status": f"using existing layer {digest}"})
            say({"status": "writing manifest"})

    async def _source(self, name: str, say: OnStatus) -> str:
        """Return the main name of the model that another is made of; one of the hub is downloaded if necessary."""
        try:
            known = await known_name(self.host, name)
        except ModelNotFound:
            reference = hub_reference(name)
            if reference is None:
                raise
            say({"status": "pulling manifest"})
            model = await self.host.find_or_add(reference.id, on_progress=_download_progress(say))
            return model.name
        model = self.host.find(known)
        if (adapter := model.adapter_in(known)) is not None:
            raise InvalidRequest(
                f'from: "{name}" is {model.name} with the adapter {adapter}, which each request chooses for itself; '
                f'name "{model.name}".',
                param="from",
            )
        return model.name

    def _traits(self, source: str | None) -> EngineTraits:
        """Return those of the engine that the model will have."""
        return TRAITS[default_engine("gguf") if source is None else self.host.find(source).engine.name]

    def _own_template(self, source: str | None, digests: list[str]) -> str | None:
        """Return the template that the model has in its files, or that was set for it."""
        if source is not None:
            return template_of(self.host.find(source))
        return next((header.chat_template for header in self._headers(digests) if header.chat_template), None)

    async def _context(self, source: str | None, digests: list[str]) -> int | None:
        """Return the tokens that the model will hold if the request does not say; ``None``: that is not known."""
        if source is None:
            headers = await asyncio.to_thread(lambda: list(self._headers(digests)))
            return next((header.context_length for header in headers if header.context_length), None)
        model = self.host.find(source)
        if model.context_length is None:
            await self.host.refresh_previews()
        return model.context_length

    def _headers(self, digests: list[str]) -> Iterator[GgufHeader]:
        blobs = self.host.created.store.blobs
        for digest in filter(blobs.has, digests):
            with suppress(ModelFileInvalid):  # the operation refuses it, by its digest
                yield read_header(blobs.path(digest))


def _refuse_what_is_not_done(given: model_bodies.CreateRequest) -> None:
    if given.quantize:
        raise UnsupportedParameter(
            "quantize: this host does not quantize. Pull the model in the quantization that you want, such as "
            "hf.co/org/name:Q4_K_M, or quantize the file with llama-quantize before you upload it.",
            param="quantize",
        )
    for name in ("modelfile", "path"):
        if getattr(given, name):
            raise UnsupportedParameter(
                f"{name}: a Modelfile is sent as fields, as Ollama does it since 0.5.5: from, files, adapters, "
                "template, system, parameters, messages and license.",
                param=name,
            )


def _values(given: model_bodies.CreateRequest) -> Json:
    """Return the parameters of the operation that the fields are, but for the name, the source and the template."""
    settings, defaults = settings_and_defaults(given.parameters or model_bodies.ModelParameters())
    licenses = [given.license] if isinstance(given.license, str) else given.license or []
    return {
        "files": _digests(given.files or {}, "files"),
        "adapters": _digests(given.adapters or {}, "adapters"),
        "system": given.system or None,
        "messages": [_message(place, message) for place, message in enumerate(given.messages or ())],
        "licenses": [text for text in licenses if text],
        "config": defaults,
        **settings,
    }


def _digests(files: Mapping[str, str], field: str) -> list[str]:
    for name in files:
        if not name.lower().endswith(".gguf") and "." in name.rpartition("/")[2]:
            raise InvalidRequest(
                f"{field}: {name} is no GGUF file, and a model is made of those alone: convert it with llama.cpp's "
                f"{'convert_hf_to_gguf.py' if field == 'files' else 'convert_lora_to_gguf.py'}.",
                param=field,
            )
    return list(files.values())


def _message(place: int, message: model_bodies.PresetMessage) -> Json:
    for name in ("images", "tool_calls"):
        if (message.model_extra or {}).get(name):
            raise InvalidRequest(
                f"messages[{place}].{name}: the messages of a model are text alone.", param=f"messages[{place}].{name}"
            )
    return {"role": message.role, "content": message.content or ""}


class CopyEndpoint(MakingEndpoint):
    """Gives a model a further name."""

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(model_bodies.CopyRequest, body)
        with given_as("source"):
            source = await known_name(self.host, given.source)
        with given_as("destination"):
            values = {"source": source, "model_id": new_name(given.destination)}
            await perform(self.host, COPY, COPY.parse(values), operator_of(scope))
        await exchange.answer(200, b"", [(b"content-length", b"0")])


class DeleteEndpoint(MakingEndpoint):
    """Deletes a model that a client has made."""

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(model_bodies.DeleteRequest, body)
        name = plain_name(given.named)
        if name not in self.host.created.records:
            name = await known_name(self.host, given.named)
        record = self.host.created.records.get(name)
        await perform(self.host, DELETE, DELETE.parse({"model_id": name}), operator_of(scope))
        if record is not None and record.source.hub is not None:
            exchange.add_note(KEPT_FILES)
        await exchange.answer(200, b"", [(b"content-length", b"0")])


class PushEndpoint(MakingEndpoint):
    """Refuses to publish a model."""

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        checked(model_bodies.PullRequest, body)
        raise UnsupportedOperation(
            "push: this host publishes no models. Upload the files with the tools of the hub (hf upload)."
        )
