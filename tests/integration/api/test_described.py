"""What ``/openapi.json`` says of the host is true, as far as a short trial shows; `make conformance` has a long one."""

from __future__ import annotations

from tests.conformance.described import Trial, described_host, verdict_on

SHORT = Trial(phases=("examples", "fuzzing", "stateful"), examples=3, takes_answers=False, least_cases=150)


def test_a_host_answers_as_it_is_described() -> None:
    with described_host() as host:
        verdict = verdict_on(host, SHORT)
    assert verdict.is_good, verdict.said
