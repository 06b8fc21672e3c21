"""Speaks with the MCP servers of a host, and writes the messages down: ``->`` is sent, ``<-`` comes back.

What all servers list alike is long, so a definition of a tool that was recorded already is only named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from string import Template
from typing import Any, Final

import httpx2

from tests.goldens.json_text import json_text, on_a_line
from tests.goldens.mcp_messages import FACES, LISTINGS, META, OPENING, VERSIONS, Era, Message
from tests.goldens.normalising import Normaliser
from tests.goldens.stdio_servers import StdioServers
from tests.support.serving import ServedHost

SECONDS: Final = 60.0
BOTH: Final = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
SESSION: Final = "mcp-session-id"
SHOWN_HEADERS: Final = ("content-type", SESSION)


class Definitions:
    """The definitions of tools that were recorded already, each with the place where it is found."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def shortened(self, message: Any, place: str) -> Any:
        """``message`` with names in place of the definitions that are recorded elsewhere, to the letter."""
        tools = message.get("result", {}).get("tools")
        if not isinstance(tools, list):
            return message
        return {**message, "result": {**message["result"], "tools": [self._tool(tool, place) for tool in tools]}}

    def _tool(self, tool: dict[str, Any], place: str) -> Any:
        known = self._places.setdefault(json.dumps(tool), place)
        return tool if known == place else {"name": tool["name"], "as in": known}


class Transcript:
    """The lines of what is said, in one era over one transport."""

    def __init__(self, normaliser: Normaliser, definitions: Definitions, title: str) -> None:
        self._normaliser = normaliser
        self._definitions = definitions
        self._title = title
        self._lines: list[str] = []
        self._kept: dict[str, str] = {}
        self._face = ""

    @property
    def text(self) -> str:
        return "\n".join([*self._lines, ""])

    def begin(self, face: str) -> None:
        """Begin with another server."""
        self._normaliser.begin_scenario()
        self._face = face
        self._lines += [*([""] if self._lines else []), f"=== {face}"]

    def filled(self, message: Message, era: Era, key: int) -> str:
        """``message`` as it is sent, with what was kept in its place."""
        return Template(json.dumps(message.in_era(era, key))).safe_substitute(self._kept)

    def sent(self, text: str) -> None:
        """Add a message of the client; of what each brings in the modern era there is a word only."""
        message = json.loads(text)
        meta = message.get("params", {}).get("_meta")
        if meta is not None and META.items() <= meta.items():
            rest = {key: value for key, value in meta.items() if key not in META}
            message["params"]["_meta"] = {"": "the era's", **rest}
        self._lines += ["", f"-> {self._normaliser.text(on_a_line(message))}"]

    def note(self, text: str) -> None:
        """Add what is neither sent nor answered, such as a status."""
        self._lines.append(self._normaliser.text(text))

    def came(self, message: Any) -> None:
        """Add a message of the server."""
        shown = self._definitions.shortened(self._normaliser.value(message), f"{self._title}, {self._face}")
        self._lines.append(f"<- {json_text(shown)}")

    def keep(self, message: Message, answer: str) -> None:
        """Keep what later messages need of an answer."""
        for name, pattern in message.keep.items():
            found = re.search(pattern, answer)
            assert found is not None, f"{pattern} is not in {answer}"
            self._kept[name] = found[1]


def messages_to(face: str, era: Era) -> tuple[Message, ...]:
    """What is sent to a server, from the first to the last."""
    return (*OPENING[era], *LISTINGS, *FACES[face])


def record_over_http(host: ServedHost, era: Era, normaliser: Normaliser, definitions: Definitions) -> str:
    """Speak with all servers of ``host`` by HTTP."""
    transcript = Transcript(normaliser, definitions, f"HTTP, {era} era")
    with httpx2.Client(base_url=host.url, timeout=SECONDS, trust_env=False) as client:
        for face in FACES:
            transcript.begin(face)
            path = "/mcp" if face == "all" else f"/mcp/{face}"
            headers = dict(BOTH)
            for key, message in enumerate(messages_to(face, era), start=1):
                text = transcript.filled(message, era, key)
                transcript.sent(text)
                answer = client.post(path, content=text, headers=headers | _headers_of(message, era))
                if SESSION in answer.headers:
                    headers[SESSION] = answer.headers[SESSION]
                told = [f"{name}: {answer.headers[name]}" for name in SHOWN_HEADERS if name in answer.headers]
                transcript.note(", ".join([f"   {answer.status_code}", *told]))
                for came in _messages_in(answer):
                    transcript.came(came)
                transcript.keep(message, answer.text.replace('\\"', '"'))
            if SESSION in headers:
                transcript.note(f"\n   DELETE: {client.delete(path, headers=headers).status_code}")
    return transcript.text


def stdio_names(era: Era) -> dict[str, str]:
    """Return the faces of the servers that :func:`record_over_stdio` speaks with, by their names."""
    return {f"{face} in the {era} era": face for face in FACES}


def record_over_stdio(servers: StdioServers, era: Era, normaliser: Normaliser, definitions: Definitions) -> str:
    """Speak with those of ``servers`` that are for ``era``, each a process ``modelhost mcp FACE``."""
    transcript = Transcript(normaliser, definitions, f"stdio, {era} era")
    for name, face in stdio_names(era).items():
        transcript.begin(face)
        for key, message in enumerate(messages_to(face, era), start=1):
            text = transcript.filled(message, era, key)
            transcript.sent(text)
            servers.pipes[name].say(text)
            while message.is_request:
                came = servers.pipes[name].line()
                transcript.came(came)
                if came.get("id") == key:
                    transcript.keep(message, json.dumps(came).replace('\\"', '"'))
                    break
    return transcript.text


def _headers_of(message: Message, era: Era) -> dict[str, str]:
    if era == "handshake":
        return {"mcp-protocol-version": VERSIONS[era]} if message.method != "initialize" else {}
    name = {"mcp-name": message.name} if message.name and message.method != "initialize" else {}
    return {"mcp-protocol-version": VERSIONS[era], "mcp-method": message.method, **name}


def _messages_in(answer: httpx2.Response) -> Iterator[Any]:
    if not answer.content:
        return
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        for line in answer.text.splitlines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))
    else:
        yield answer.json()
