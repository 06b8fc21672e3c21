"""The HTTP server of ``modelhost serve``, replaced."""

from __future__ import annotations

import types
from typing import Any

from modelhost.config.settings import Settings
from modelhost.http.server import Progress
from modelhost.models.hub.progress import FileProgress
from modelhost.models.resolve.runtime import UnusedGpu


class FakeServer(types.ModuleType):
    """In place of ``modelhost.http.server``: keeps the settings that it was to serve."""

    def __init__(self) -> None:
        super().__init__("modelhost.http.server")
        self.served: list[Settings] = []
        self.exit_code = 0
        self.error: Exception | None = None
        self.unused_gpu: UnusedGpu | None = None

    Progress = Progress

    def serve(self, settings: Settings, *, announce: Any, progress: Progress, reread: Any) -> int:
        self.served.append(settings)
        if self.error is not None:
            raise self.error
        assert progress.on_download is not None
        progress.on_download(FileProgress(file="a.gguf", done_bytes=1, total_bytes=2, part=1, parts=1))
        assert progress.on_loading is not None
        progress.on_loading(0.5)
        known = types.SimpleNamespace(unused_gpu=self.unused_gpu, spec=types.SimpleNamespace(task=None))
        nano = types.SimpleNamespace(
            name="nano", known=known, worker=None, engine=types.SimpleNamespace(name="llamacpp")
        )
        host = types.SimpleNamespace(models=[nano], settings=settings)
        announce("http://127.0.0.1:8000", host)
        return self.exit_code
