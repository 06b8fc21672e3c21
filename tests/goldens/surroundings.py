"""Where hosts and commands run while they are recorded: an environment that is the same on every machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from unittest import mock

from tests.support.serving import ServedHost

PACKAGE: Final = Path(str(files("modelhost")))
ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT", "TMPDIR")
NOWHERE: Final = "http://127.0.0.1:9"
"""The discard port: nothing answers there."""


class Surroundings:
    """A folder with all that hosts and commands may find and write, and the environment that leads them there."""

    def __init__(self, folder: Path, things: ExitStack) -> None:
        self.folder = folder.resolve()
        self.work = self._made("work")
        self._things = things
        self.variables: dict[str, str] = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "HOME": str(self._made("home")),
            "XDG_DATA_HOME": str(self._made("data-home")),
            "XDG_CONFIG_HOME": str(self._made("config-home")),
            "HF_HOME": str(self._made("hub")),
            "HF_ENDPOINT": NOWHERE,
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "COLUMNS": "100",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "PYTHONIOENCODING": "utf-8",
        }

    @property
    def places(self) -> Mapping[str, str]:
        """Paths of this machine, and what stands for them."""
        return {
            str(self.folder): "<folder>",
            sys.executable: "<python>",
            str(PACKAGE): "<modelhost>",
            str(ROOT): "<root>",
        }

    def host(self, **settings: Any) -> ServedHost:
        """Start a host that ends with the surroundings; it keeps its data in a folder of its own here."""
        data = self._made(f"data-{len(list(self.folder.glob('data-*')))}")
        with self.entered():
            return self._things.enter_context(ServedHost(**{"data_dir": str(data), **settings}))

    def enter(self, context: Any) -> Any:
        """Enter a context that is left with the surroundings."""
        return self._things.enter_context(context)

    def file(self, name: str, content: str | bytes) -> str:
        """Write a file; return its path."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let this process be in the folder, with the environment."""
        before = Path.cwd()
        with mock.patch.dict(os.environ, self.variables, clear=True):
            os.chdir(self.work)
            try:
                yield
            finally:
                os.chdir(before)

    def _made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        return path


@contextmanager
def surroundings() -> Iterator[Surroundings]:
    """Surroundings that are removed with the context, after all that was started in them has ended."""
    with tempfile.TemporaryDirectory(prefix="goldens-") as folder, ExitStack() as things:
        yield Surroundings(Path(folder), things)
