"""An MCP server in plain Python, for measuring: it starts at once and answers at once.

Run as ``python tool_server.py [SECONDS]``; so long it takes to start. It has the tools ``echo`` and ``wait``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

ECHO = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
WAIT = {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]}
TOOLS = [
    {"name": "echo", "description": "Says it again.", "inputSchema": ECHO},
    {"name": "wait", "description": "Takes its time.", "inputSchema": WAIT},
]
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "bench", "version": "1"},
}


def main() -> None:
    time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            answer(message)


def answer(message: dict[str, Any]) -> None:
    method, params = message["method"], message.get("params") or {}
    if method == "initialize":
        send(message["id"], HELLO)
    elif method == "tools/list":
        send(message["id"], {"tools": TOOLS})
    elif method == "tools/call" and params["name"] == "wait":
        # A timer and no thread that sleeps here: three calls wait side by side.
        threading.Timer(params["arguments"]["seconds"], send, (message["id"], said("done"))).start()
    elif method == "tools/call":
        send(message["id"], said(params["arguments"]["text"]))
    elif method == "ping":
        send(message["id"], {})
    else:
        write({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})


def said(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def send(id_: Any, result: dict[str, Any]) -> None:
    write({"id": id_, "result": result})


def write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
