"""The Responses API, tried by the suites that others have written for it.

The suite of Open Responses (https://github.com/openresponses/openresponses) runs from a checkout that the caller names,
since no package has it; ``llm-comply`` and ``compatcanary`` come from their packages. Each runs against the bundled
model and against the scripted engine, which is told what to answer where a suite wants a call or an object. The hosts
require a model in each request, as OpenAI does.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.support.locked import node_modules, python_environment
from tests.support.serving import ServedHost

NODE_LOCK: Final = "npm-responses"
PYTHON_LOCK: Final = "responses-suites"
KEY: Final = "suite"
MODEL: Final = "gpt-5"
"""An alias: llm-comply asks for summaries of reasoning only where it knows the name."""
SECONDS: Final = 600
PASSED: Final = frozenset({"passed", "pass"})
RULES: Final[Sequence[Mapping[str, Any]]] = (
    {"match": "weather", "tool_calls": [{"name": "get_weather", "arguments": {"location": "San Francisco, CA"}}]},
    {
        "match": "Call the provided tool",
        "tool_calls": [{"name": "compatcanary_echo", "arguments": {"value": "CANARY_OK"}}],
    },
    {"match": "compatibility status", "reply": '{"status": "ok"}'},
)
COLUMNS: Final = ("suite", "engine", "tests", "passed", "not as documented")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesSuite:
    """A suite: how it is run, how many tests it has, and which of them do not pass, by engine."""

    name: str
    tests: int
    expected: Mapping[str, frozenset[str]]
    """``docs/conformance.md`` says why."""

    def command(self, url: str, checkout: Path | None) -> Sequence[str]:
        """Return the command that tries the API at ``url`` and writes a report in JSON."""
        match self.name:
            case "openresponses":
                assert checkout is not None
                bun = node_modules(NODE_LOCK) / ".bin" / "bun"
                script = checkout / "bin" / "compliance-test.ts"
                return (str(bun), "run", "--no-install", str(script), "-u", url, "-k", KEY, "-m", MODEL, "--json")
            case "llm-comply":
                program = python_environment(PYTHON_LOCK) / "llm-comply"
                return (str(program), "-u", url, "-k", KEY, "-m", MODEL, "--json")
        program = node_modules(NODE_LOCK) / ".bin" / "compatcanary"
        target = ("--base-url", url, "--api-key", KEY, "--model", MODEL)
        return (str(program), "scan", *target, "--profile", "modern", "--format", "json")


IMAGES: Final = frozenset({"image-input"})
OPEN_RESPONSES: Final = ResponsesSuite(
    name="openresponses", tests=17, expected={"scripted": frozenset(), "llamacpp": IMAGES}
)
PACKAGED: Final = (
    ResponsesSuite(name="llm-comply", tests=13, expected={"scripted": frozenset(), "llamacpp": IMAGES}),
    ResponsesSuite(name="compatcanary", tests=7, expected={"scripted": frozenset(), "llamacpp": frozenset()}),
)
ENGINES: Final = ("scripted", "llamacpp")


def is_api_kept(checkout: Path | None) -> bool:
    """Run the suites, that of Open Responses only from a ``checkout``; print a table."""
    console, table = Console(), Table(*COLUMNS, title_justify="left")
    is_good = True
    for engine in ENGINES:
        with _host(engine) as host:
            for suite in (OPEN_RESPONSES, *PACKAGED) if checkout is not None else PACKAGED:
                outcomes = outcomes_of(_report(suite, f"{host.url.rstrip('/')}/v1", checkout))
                surprises = surprises_in(suite, engine, outcomes)
                passed = sum(outcomes.values())
                row = (suite.name, engine, str(len(outcomes)), str(passed), ", ".join(surprises) or "none")
                table.add_row(*row, style="red" if surprises else "green")
                is_good &= not surprises
    console.print(table)
    return is_good


def outcomes_of(report: Mapping[str, Any]) -> Mapping[str, bool]:
    """Return whether each test of a suite passed, by its id."""
    return {result["id"]: result["status"] in PASSED for result in report["results"]}


def surprises_in(suite: ResponsesSuite, engine: str, outcomes: Mapping[str, bool]) -> Sequence[str]:
    """Return the tests that fail although they should pass, or the other way round, and whether tests are missing."""
    expected = suite.expected[engine]
    found = [
        f"{name} {'passes' if passed else 'fails'}" for name, passed in outcomes.items() if passed is (name in expected)
    ]
    missing = suite.tests - len(outcomes)
    return [*found, f"{missing} missing"] if missing > 0 else found


@contextmanager
def _host(engine: str) -> Iterator[ServedHost]:
    settings: dict[str, Any] = {"alias": [MODEL], "api_keys": [KEY], "require_model": True}
    with tempfile.TemporaryDirectory(prefix="suites-") as folder:
        if engine == "scripted":
            script = Path(folder) / "script.json"
            script.write_text(json.dumps(RULES), "utf-8")
            settings |= {"engine": engine, "engine_options": {"script": str(script)}}
        with ServedHost(**settings) as host:
            yield host


def _report(suite: ResponsesSuite, url: str, checkout: Path | None) -> Mapping[str, Any]:
    # A checkout without its libraries finds the one that it needs here.
    environment = {**os.environ, "NODE_PATH": str(node_modules(NODE_LOCK))}
    command = suite.command(url, checkout)
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    try:
        report: Mapping[str, Any] = json.loads(ended.stdout)
    except json.JSONDecodeError:
        raise SystemExit(
            f"{suite.name} has no report; it said:\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        ) from None
    return report
