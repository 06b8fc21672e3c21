"""Ollama's API about models: what there is, and models that clients create, copy, pull and delete."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from tests.goldens.http_scenarios import Request, Scenario, one

CONTENT: Final = b"This is no model."
BLOB: Final = f"/api/blobs/sha256:{hashlib.sha256(CONTENT).hexdigest()}"
WHOLE: Final = {"stream": False}
PIRATE: Final[dict[str, Any]] = {
    "model": "pirate",
    "from": "scripted",
    "system": "You are a pirate.",
    "parameters": {"num_predict": 3, "mirostat": 1},
}
CHAT: Final[dict[str, Any]] = {**WHOLE, "messages": [{"role": "user", "content": "/echo one two three four"}]}

MODELS: Final[tuple[Scenario, ...]] = (
    one("version", "GET /api/version"),
    one("models", "GET /api/tags"),
    one("loaded models", "GET /api/ps"),
    one("model in detail", "POST /api/show", {"model": "scripted:latest", "verbose": True}),
    one("pull of a model that is here", "POST /api/pull", {"model": "scripted"}),
    one("pull of what the hub cannot have", "POST /api/pull", {"model": "nobody"}),
    Scenario(
        name="a model that a client creates, copies and deletes",
        steps=(
            Request(line="POST /api/create", body=PIRATE),
            Request(line="POST /api/show", body={"model": "pirate"}),
            Request(line="POST /api/chat", body={**CHAT, "model": "pirate"}),
            Request(line="POST /api/copy", body={"source": "pirate", "destination": "corsair"}),
            Request(line="GET /api/tags"),
            Request(line="DELETE /api/delete", body={"model": "pirate"}),
            Request(line="DELETE /api/delete", body={"model": "corsair"}),
            Request(line="POST /api/show", body={"model": "corsair"}),
        ),
    ),
    Scenario(
        name="a file",
        steps=(
            Request(line=f"HEAD {BLOB}"),
            Request(line=f"POST {BLOB}", body=CONTENT),
            Request(line=f"HEAD {BLOB}"),
            Request(line="POST /api/create", body={**WHOLE, "model": "mine", "files": {"a.gguf": BLOB[11:]}}),
        ),
    ),
    one("file of another digest", f"POST {BLOB}", b"Something else."),
    one("model that is not here", "POST /api/show", {"model": "llama3.2"}),
    one("deletion of a model of the host", "DELETE /api/delete", {"model": "scripted"}),
    one("quantization", "POST /api/create", {**PIRATE, "quantize": "q4_0"}),
    one("template of no known family", "POST /api/create", {**PIRATE, "template": "{{ .Prompt }}"}),
    one("publication", "POST /api/push", {"model": "scripted"}),
    one("no such method", "GET /api/show"),
)
