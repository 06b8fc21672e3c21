"""The host and its description, tried against each other by schemathesis.

It sends what ``/openapi.json`` allows and what it forbids, and compares the answers with what is said there. Its
settings are in ``schemathesis.toml``, what it has to know of the host in ``schemathesis_hooks.py``.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.locked import python_environment
from tests.support.registries import scripted, write_registry
from tests.support.serving import ServedHost
from tests.support.tool_hosts import config, stub_server

HERE: Final = Path(__file__).parent
SETTINGS: Final = HERE / "schemathesis.toml"
ENVIRONMENT: Final = "schemathesis"
NOWHERE: Final = "http://127.0.0.1:9"
"""The discard port, for a hub that is not there."""
KEY: Final = "described"
SECONDS: Final = 3600.0
DOCUMENT_SECONDS: Final = 120.0
SEED: Final = 1
GENERATED: Final = re.compile(r"^ +(\d+) generated", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What schemathesis is to do: in which phases, and how many requests it invents for each operation.

    ``takes_answers`` says whether it invents them with ids from earlier answers: many, with few requests.
    """

    phases: Sequence[str] = ("examples", "coverage", "fuzzing", "stateful")
    examples: int
    takes_answers: bool = True
    least_cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What it found: ``said`` holds each finding and a summary."""

    is_good: bool
    cases: int
    said: str


@contextmanager
def described_host() -> Iterator[ServedHost]:
    """A host with what the examples of its description name: the model `qwen`, the MCP server `weather`."""
    with tempfile.TemporaryDirectory(prefix="described-") as folder:
        place = Path(folder)
        settings = {
            "models_config": write_registry(
                place / "models.yaml",
                scripted("qwen", params={"slots": 4}),
                scripted("other", options={"text": "Done."}),
            ),
            "mcp_config": config(place, weather=stub_server(tools=["echo", "get_weather", "fail"])),
            "wait_for_tools": True,
            "api_keys": [KEY],
        }
        with ServedHost(environment={"HF_ENDPOINT": NOWHERE}, **settings) as host:
            yield host


def verdict_on(host: ServedHost, trial: Trial) -> Verdict:
    """Have ``host`` tried; whatever it holds may be gone after that."""
    place = Path(host.settings["data_dir"])
    settings = place / SETTINGS.name
    of_trial = f"[phases.fuzzing.extra-data-sources]\nresponses = {str(trial.takes_answers).lower()}\n"
    settings.write_text(f"{SETTINGS.read_text('utf-8')}\n{of_trial}", "utf-8")
    arguments = ["--phases", ",".join(trial.phases), "--max-examples", str(trial.examples), "--seed", str(SEED)]
    arguments += ["--no-color", "--warnings", "off"]
    # Made when it is first asked for, which takes longer on a busy machine than the 10 seconds that schemathesis waits.
    assert host.http.get("/openapi.json", timeout=DOCUMENT_SECONDS).status_code == 200
    done = subprocess.run(
        [
            *(str(python_environment(ENVIRONMENT) / "schemathesis"), "--config-file", str(settings)),
            *("run", f"{host.url}/openapi.json", "--header", f"Authorization: Bearer {KEY}", *arguments),
        ],
        check=False,
        timeout=SECONDS,
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py")},
    )
    cases = cases_in(done.stdout)
    is_good = done.returncode == 0 and cases >= trial.least_cases
    return Verdict(is_good=is_good, cases=cases, said=f"{done.stdout}{done.stderr}")


def cases_in(said: str) -> int:
    """Return how many cases schemathesis says that it has tried."""
    found = GENERATED.search(said)
    return int(found[1]) if found else 0
