"""A running host as an answerer, over its HTTP API.

``http.client`` and not the asynchronous client of the host: one request at a time needs no event loop, the command
starts faster, and Ctrl-C stops an answer at once.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from modelhost import json_text
from modelhost.cli.answerer import Message
from modelhost.cli.event_stream import events
from modelhost.config.network import require_certificates
from modelhost.errors import ConfigError, HostUnreachable
from modelhost.operations.events import EventReport
from modelhost.operations.host_errors import error_in, error_of_status
from modelhost.operations.operation import OnProgress, Operation, P, R
from modelhost.operations.remote_calls import EVENT_STREAM, RESULT, progress_in, request_of, result_in

CONNECT_SECONDS: Final = 10.0
EVENTS_PATH: Final = "/v1/models/events"
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
PROBE_SECONDS: Final = 0.5  # a host on this machine answers in milliseconds; without one the port refuses at once


def normal_url(url: str) -> str:
    """``url`` with a scheme and without a trailing slash or ``/v1``.

    Raises:
        ConfigError: not an HTTP address. A word alone is none: it could be anything, and no name server knows it.
    """
    has_scheme = "://" in url
    address = (url if has_scheme else f"http://{url}").rstrip("/").removesuffix("/v1")
    try:
        parts = urlsplit(address)
        is_http = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        if not has_scheme and parts.port is None:
            is_http = is_http and _names_a_machine(parts.hostname or "")
    except ValueError:
        is_http = False
    if not is_http:
        raise ConfigError(f'"{url}" is not the address of a host; it looks like http://127.0.0.1:8000')
    return address


def _names_a_machine(name: str) -> bool:
    return name == "localhost" or "." in name or ":" in name


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteHost:
    """The host at ``url`` (as ``normal_url`` gives it)."""

    url: str
    api_key: str | None = None

    def is_modelhost(self) -> bool:
        """Whether a modelhost answers there; anything else, or nothing, is ``False``."""
        try:
            with self._answer("GET", "/version", seconds=(PROBE_SECONDS, PROBE_SECONDS)) as response:
                version = json.loads(response.read())
        except (HostUnreachable, ValueError):
            return False
        return isinstance(version, dict) and version.get("name") == "modelhost"

    def models(self) -> Sequence[str]:
        with self._answer("GET", "/v1/models") as response:
            listed = self._json(response)
        try:
            return [str(model["id"]) for model in listed["data"]]
        except (KeyError, TypeError) as error:
            raise HostUnreachable(f"{self.url} lists no models; is it a modelhost?") from error

    def complete(self, messages: Sequence[Message], params: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._answer("POST", "/v1/chat/completions", {**params, "messages": messages}) as response:
            completion: Mapping[str, Any] = self._json(response)
            return completion

    def stream(self, messages: Sequence[Message], params: Mapping[str, Any]) -> Generator[Mapping[str, Any]]:
        request = {**params, "messages": messages, "stream": True}
        with self._answer("POST", "/v1/chat/completions", request) as response:
            for event in events(_lines(response)):
                if event.data.strip() == "[DONE]":
                    return
                if event.name not in {"", "message", "error"}:
                    continue  # an extension event, such as a tool call that the host made
                yield self._chunk(event.data)
            raise HostUnreachable(f"the host at {self.url} went away in the middle of the answer")

    def call(self, operation: Operation[Any, P, R], parameters: P, on_progress: OnProgress | None = None) -> R:
        """The result of an administrative operation; ``on_progress`` is told how far one is that tells so.

        Raises:
            ModelhostError: the one that the operation raised in the host, or ``HostUnreachable``.
        """
        headers = {} if on_progress is None else {"Accept": EVENT_STREAM}
        with self._answer(*request_of(operation, parameters), headers=headers) as response:
            if on_progress is None or not (response.getheader("Content-Type") or "").startswith(EVENT_STREAM):
                return result_in(operation, self._json(response), self.url)
            return result_in(operation, self._told_result(response, on_progress), self.url)

    def _told_result(self, response: http.client.HTTPResponse, on_progress: OnProgress) -> Any:
        for event in events(_lines(response)):
            data = self._chunk(event.data)
            if event.name == RESULT:
                return data
            on_progress(progress_in(data))
        raise HostUnreachable(f"the host at {self.url} went away before it was done; ask again")

    def model_events(self) -> Generator[EventReport]:
        """What happens to the models: the state of each at first, then every change; ends when the host stops."""
        with self._answer("GET", EVENTS_PATH) as response:
            for event in events(_lines(response)):
                answer = self._chunk(event.data)
                try:
                    yield EventReport.model_validate(answer)
                except ValidationError as error:
                    raise HostUnreachable(
                        f"{self.url} sent something else than an event; is it a modelhost?"
                    ) from error

    def _chunk(self, data: str) -> Mapping[str, Any]:
        try:
            chunk = json_text.decoded(data)
        except ValueError:
            chunk = None
        if error := error_in(chunk):
            raise error
        if not isinstance(chunk, dict):
            raise HostUnreachable(f"{self.url} sent something else than an answer; is it a modelhost?")
        return chunk

    def _json(self, response: http.client.HTTPResponse) -> Any:
        try:
            return json_text.decoded(response.read())
        except (ValueError, http.client.HTTPException) as error:
            raise HostUnreachable(f"{self.url} did not send whole JSON; is it a modelhost?") from error

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        seconds: tuple[float, float | None] = (CONNECT_SECONDS, None),
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to one request; its status is below 400. ``seconds`` are to connect, and to read: without a limit
        reading waits, since models take their time."""
        connect_seconds, read_seconds = seconds
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            require_certificates()
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        with closing(connect(parts.hostname or "", parts.port, timeout=connect_seconds)) as connection:
            try:
                connection.connect()
                connection.sock.settimeout(read_seconds)
                payload = None if body is None else json.dumps(body)
                connection.request(method, parts.path + path, body=payload, headers={**self._headers(), **headers})
                response = connection.getresponse()
                refused = response.read() if response.status >= 400 else None
            except (OSError, http.client.HTTPException) as error:
                raise HostUnreachable(
                    f"no modelhost answers at {self.url} ({error}); start one with: modelhost serve"
                ) from error
            except ValueError as error:  # a header or host name that cannot be written
                raise ConfigError(
                    f"the key or the address {self.url} has characters that HTTP does not allow"
                ) from error
            if refused is not None:
                raise error_of_status(self.url, response.status, refused)
            with response:
                yield response

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "modelhost"}
        return headers if self.api_key is None else {**headers, "Authorization": f"Bearer {self.api_key}"}


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The lines of a streamed answer until it ends or breaks off."""
    while True:
        try:
            line = response.readline()
        except (OSError, http.client.HTTPException):
            return
        if not line:
            return
        yield line
