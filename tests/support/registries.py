"""Registry files for real hosts, and what a host says of the models in them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from tests.support.serving import ServedHost

NANO = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"


def nano(name: str, **more: Any) -> dict[str, Any]:
    """An entry with the bundled model, small; ``more`` are further keys."""
    params = {"context_length": 512, "slots": 2, **more.pop("params", {})}
    return {"name": name, "local_path": str(NANO), "params": params, **more}


def scripted(name: str, *, options: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An entry with the scripted engine; ``options`` are the engine's, ``more`` are further keys."""
    params = {**more.pop("params", {}), "engine_options": options or {}}
    return {"name": name, "engine": "scripted", "params": params, **more}


def write_registry(path: Path, *entries: dict[str, Any], **more: Any) -> str:
    """Put the registry in the place of the one at ``path``, at one stroke, and return the path as text."""
    draft = path.with_suffix(".draft")
    draft.write_text(yaml.safe_dump({"models": list(entries), **more}))
    draft.replace(path)
    return str(path)


def status_of(host: ServedHost, name: str) -> dict[str, Any]:
    """Return what ``GET /v1/models/status`` says of one model."""
    models: list[dict[str, Any]] = host.http.get("/v1/models/status").json()["models"]
    return next(model for model in models if model["name"] == name)


def state_of(host: ServedHost, name: str) -> str:
    """Return the state of one model."""
    return str(status_of(host, name)["state"])


def chat(host: ServedHost, model: str, content: str = "hello", **parameters: Any) -> Any:
    """Send a chat request for ``model`` and return the whole HTTP answer."""
    body = {"model": model, "messages": [{"role": "user", "content": content}], **parameters}
    return host.http.post("/v1/chat/completions", json=body)


def load(host: ServedHost, model: str) -> dict[str, Any]:
    """Have ``model`` loaded and return when it is."""
    answer = host.http.post("/v1/models/load", json={"model_id": model, "wait": True})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def unload(host: ServedHost, model: str, **more: Any) -> Any:
    """Ask for ``model`` to be unloaded and return the whole HTTP answer, which comes when it is."""
    return host.http.post("/v1/models/unload", json={"model_id": model, **more})
