"""An MCP server of the handshake era in plain Python: it starts at once, and misbehaves as it is told.

Run as ``python mcp_stub.py '{"tools": [...], ...}'``; the keys are the fields of :class:`Behaviour`. It writes a line
about each message that it gets into the file ``log``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

NO_ARGUMENTS = {"type": "object", "properties": {}}
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
SECONDS = {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]}
COUNT = {
    "type": "object",
    "properties": {"count": {"type": "integer"}, "unit": {"type": "string"}},
    "required": ["count"],
}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
URL = {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}
SCHEMAS = {"echo": TEXT, "sleep": SECONDS, "big": COUNT, "fail": TEXT, "change": TEXT, "get_weather": CITY}
SCHEMAS |= {"ask_host": URL, "meet": COUNT, "at_once": SECONDS}
DESCRIPTIONS = {"get_weather": "Tells the weather of a city."}
READ_ONLY = ("echo", "pid")
MEETING_SECONDS = 30.0


@dataclass
class Behaviour:
    tools: tuple[str, ...] = ("echo", "sleep", "pid", "die", "big", "fail", "hang", "change", "env")
    numbered: int = 0  # so many more tools
    page: int = 1000  # tools on a page of the listing
    listed: tuple[Any, ...] = ()  # what stands in the listing besides, as it is
    results: dict[str, Any] = field(default_factory=dict)  # of tools of these names, as they are
    lines: dict[str, str] = field(default_factory=dict)  # written in Latin-1 for an answer; ID stands for its id
    start_seconds: float = 0.0
    waits_for_starts: int = 0  # it goes on when its log tells of so many
    dies_at_start: bool = False
    dies_once: str | None = None  # a file: while it is not there, the server makes it and dies
    answers_nothing: bool = False
    answers_no_ping: bool = False
    stderr_bytes: int = 0  # written at the start
    prints: bool = False  # a line that is no message
    ignores_sigterm: bool = False
    ignores_end: bool = False  # of its input
    tasks_only: tuple[str, ...] = ()  # tools that run as tasks and in no other way
    child: str | None = None  # a file: a child that outlives its parent writes its pid there
    log: str | None = None


class Server:
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.tools = [*behaviour.tools, *(f"tool_{number}" for number in range(behaviour.numbered))]
        self.lock = threading.Lock()
        self.answers: dict[str, Any] = {}
        self.cancelled: set[Any] = set()
        self.met = threading.Condition()
        self.meeting = self.working = 0

    def send(self, message: dict[str, Any]) -> None:
        with self.lock:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            sys.stdout.flush()

    def write(self, line: str) -> None:
        with self.lock:
            sys.stdout.buffer.write(line.encode("latin-1") + b"\n")
            sys.stdout.buffer.flush()

    def note(self, text: str) -> None:
        if self.behaviour.log:
            with open(self.behaviour.log, "a", encoding="utf-8") as file:  # noqa: PTH123
                file.write(text + "\n")

    def starts(self) -> int:
        """How many servers that share its log have started."""
        if not self.behaviour.log:
            return 1
        with open(self.behaviour.log, encoding="utf-8") as file:  # noqa: PTH123
            return file.read().splitlines().count("start")

    def run(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            self.note(message.get("method", "answer"))
            if "method" not in message:
                self.answers[message["id"]] = message
            elif message["method"] == "notifications/cancelled":
                self.cancelled.add(message["params"]["requestId"])
            elif "id" in message and not self.behaviour.answers_nothing:
                threading.Thread(target=self.answer, args=(message,), daemon=True).start()

    def answer(self, message: dict[str, Any]) -> None:
        method, params, id_ = message["method"], message.get("params") or {}, message["id"]
        if method == "initialize":
            capabilities = {"tools": {"listChanged": True}, "logging": {}}
            info = {"name": "stub", "version": "1"}
            result: Any = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}
        elif method == "ping" and not self.behaviour.answers_no_ping:
            result = {}
        elif method == "tools/list":
            result = self.listing(params.get("cursor"))
        elif method == "tools/call" and params["name"] in self.behaviour.lines:
            self.write(self.behaviour.lines[params["name"]].replace("ID", json.dumps(id_)))
            return
        elif method == "tools/call":
            result = self.behaviour.results.get(params["name"]) or self.call(id_, params)
            if result is None:
                return
        elif method == "ping":
            return
        else:
            self.send({"id": id_, "error": {"code": -32601, "message": "Method not found"}})
            return
        self.send({"id": id_, "result": result})

    def listing(self, cursor: str | None) -> dict[str, Any]:
        start = int(cursor or 0)
        end = start + self.behaviour.page
        tools = [self.tool(name) for name in self.tools[start:end]]
        tools += self.behaviour.listed if end >= len(self.tools) else ()
        return {"tools": tools, **({"nextCursor": str(end)} if end < len(self.tools) else {})}

    def tool(self, name: str) -> dict[str, Any]:
        schema = SCHEMAS.get(name, NO_ARGUMENTS)
        hints = {"annotations": {"readOnlyHint": True, "title": name.title()}} if name in READ_ONLY else {}
        execution = {"execution": {"taskSupport": "required"}} if name in self.behaviour.tasks_only else {}
        about = {"name": name, "description": DESCRIPTIONS.get(name, f"Does {name}."), "inputSchema": schema}
        return {**about, **hints, **execution}

    def call(self, id_: Any, params: dict[str, Any]) -> dict[str, Any] | None:
        name, arguments = params["name"], params.get("arguments") or {}
        self.note(f"call {name}")
        if name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "hang":
            return None
        if name == "sleep":
            time.sleep(arguments["seconds"])
        if name == "fail":
            return {"content": [{"type": "text", "text": arguments["text"]}], "isError": True}
        if name == "change":
            self.tools.append(arguments["text"])
            self.send({"method": "notifications/tools/list_changed"})
        if name == "progress":
            token = (params.get("_meta") or {}).get("progressToken")
            step = {"progressToken": token, "progress": 1, "total": 2, "message": "half"}
            self.send({"method": "notifications/progress", "params": step})
            self.send({"method": "notifications/message", "params": {"level": "info", "data": "working"}})
            time.sleep(0.05)
        if name in ("elicitation/create", "sampling/createMessage", "roots/list"):
            return text(json.dumps(self.ask(name, arguments)))
        if name == "ask_host":
            return text(ask_host(arguments["url"], params.get("_meta") or {}))
        texts = {
            "get_weather": lambda: f"It is sunny in {arguments['city']}.",
            "echo": lambda: arguments["text"],
            "pid": lambda: str(os.getpid()),
            "meet": lambda: self.meet(arguments["count"]),
            "at_once": lambda: self.at_once(arguments["seconds"]),
            "big": lambda: "x" * arguments["count"],
            "env": lambda: json.dumps(dict(os.environ)),
        }
        return text(texts[name]() if name in texts else name)

    def meet(self, count: int) -> str:
        """Return when so many calls of this are at work."""
        with self.met:
            self.meeting += 1
            self.met.notify_all()
            if not self.met.wait_for(lambda: self.meeting >= count, timeout=MEETING_SECONDS):
                os.kill(os.getpid(), signal.SIGKILL)
        return "met"

    def at_once(self, seconds: float) -> str:
        """Return how many calls of this are at work after ``seconds``, or were when this one began."""
        with self.met:
            self.working += 1
            found = self.working
        time.sleep(seconds)
        with self.met:
            found = max(found, self.working)
            self.working -= 1
        return str(found)

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Ask the client something, and return what it says."""
        id_ = f"{method}-{time.monotonic_ns()}"
        self.send({"id": id_, "method": method, **({"params": params} if params else {})})
        while id_ not in self.answers:
            time.sleep(0.002)
        answer = self.answers.pop(id_)
        return answer.get("result", answer.get("error"))


def ask_host(url: str, meta: dict[str, Any]) -> str:
    """Have the host that called this tool answer a request which makes it call the tool again, and so on."""
    import urllib.request  # noqa: PLC0415 (the others start at once)

    body = {"messages": [{"role": "user", "content": f'/call stub_ask_host {{"url": "{url}"}}'}]}
    depth = str(meta["modelhost/depth"])
    headers = {"Content-Type": "application/json", "X-Modelhost-Depth": depth}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        found = json.load(answer)
    ending = found.get("modelhost.finish_details", {}).get("type", "ok")
    inner = [call["text"] for call in found.get("modelhost.tool_calls", [])]
    return f"{depth} {ending}; " + "".join(inner)


def text(said: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}]}


def main() -> None:
    behaviour = Behaviour(**json.loads(sys.argv[1]))
    if behaviour.ignores_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour.stderr_bytes:
        sys.stderr.write("\n".join(["flood " * 20] * (behaviour.stderr_bytes // 120)))
        sys.stderr.flush()
    server = Server(behaviour)
    server.note("start")
    if behaviour.dies_at_start:
        sys.exit("cannot find my files")
    if behaviour.dies_once and not os.path.exists(behaviour.dies_once):  # noqa: PTH110
        with open(behaviour.dies_once, "w", encoding="utf-8"):  # noqa: PTH123
            sys.exit("not this time")
    if behaviour.child:
        command = "import time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.DEVNULL)
        with open(behaviour.child, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(str(child.pid))
    time.sleep(behaviour.start_seconds)
    while server.starts() < behaviour.waits_for_starts:
        time.sleep(0.01)
    if behaviour.prints:
        print("Server is starting ...", flush=True)  # noqa: T201
    server.run()
    while behaviour.ignores_end:
        time.sleep(60)


if __name__ == "__main__":
    main()
