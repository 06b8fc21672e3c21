"""The runs of the official suite, and which of their scenarios do not pass. ``docs/conformance.md`` says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.conformance.scores import Outcome, Score
from tests.support.locked import node_modules

LOCK: Final = "npm-conformance"

Side = Literal["client", "server"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A version of the suite, and the name that its package is locked by."""

    version: str
    package: str

    @property
    def script(self) -> Path:
        return node_modules(LOCK) / self.package / "dist" / "index.js"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One run of the whole suite.

    ``scenarios`` is how many there are, ``checks`` how many checks pass at least; ``expected`` has what comes of those
    scenarios that do not pass. ``era`` is the version of the protocol that scenarios run in that know several; without
    it the suite takes the one before 2026-07-28 where it can, and runs extensions too.
    """

    side: Side
    suite: Suite
    era: str | None = None
    scenarios: int
    checks: int
    expected: Mapping[str, Outcome]

    @property
    def name(self) -> str:
        return self.era or "all"

    @property
    def era_arguments(self) -> tuple[str, ...]:
        return () if self.era is None else ("--spec-version", self.era)

    def surprises(self, score: Score) -> bool:
        """Whether ``score`` is another than the documentation says: a failure, or a pass of what should fail."""
        return score.outcome != self.expected.get(score.scenario, "passes")


OLD: Final = Suite(version="0.1.16", package="conformance-1")
NEW: Final = Suite(version="0.2.0-alpha.12", package="conformance-2")

LEGS: Final = (
    Leg(
        side="client",
        suite=OLD,
        scenarios=26,
        checks=300,
        expected={"auth/2025-03-26-oauth-metadata-backcompat": "fails"},
    ),
    Leg(
        side="client",
        suite=NEW,
        scenarios=48,
        checks=480,
        expected={
            "auth/dpop": "fails",
            "auth/dpop-nonce": "fails",
            "auth/wif-jwt-bearer": "fails",
            "sep-2640-client-no-prefetch": "skips",
            "sep-2640-client-verify-digest": "skips",
            "sep-2640-client-verify-size": "skips",
            "sep-2640-client-verify-frontmatter": "skips",
        },
    ),
    Leg(side="client", suite=NEW, era="2026-07-28", scenarios=33, checks=400, expected={}),
    Leg(side="server", suite=OLD, scenarios=32, checks=44, expected={"server-sse-polling": "warns"}),
    Leg(
        side="server",
        suite=NEW,
        scenarios=65,
        checks=202,
        expected={
            "tasks-lifecycle": "fails",
            "tasks-capability-negotiation": "fails",
            "tasks-wire-fields": "fails",
            "tasks-request-state-removal": "fails",
            "tasks-mrtr-input": "fails",
            "tasks-request-headers": "fails",
            "tasks-dispatch-and-envelope": "fails",
            "tasks-status-notifications": "skips",
            "tasks-required-task-error": "fails",
            "tasks-mrtr-composition": "fails",
        },
    ),
    Leg(side="server", suite=NEW, era="2026-07-28", scenarios=40, checks=152, expected={}),
)
