"""The host beside LiteLLM's proxy and the reference relay, each in front of the same scripted worker.

The worker writes 100 tokens per second on every stream, as a model does that keeps up with all of them: what a proxy
cannot pass on in time, it is the proxy that holds it up.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.check.rounds import relay
from bench.check.trees import working_tree
from bench.engines import spec_of
from bench.figures import Call, Job, Seen
from bench.measure import LoadGenerator
from bench.sides import Side, StartError, bare_worker, free_port, host, own_server

CLIENTS: Final = (1, 16, 64, 256)
BARE, HOST, RELAY, LITELLM = "the worker itself", "modelhost", "reference relay", "LiteLLM"
ENVIRONMENT: Final = Path(__file__).parents[2] / ".venv-proxies"
HOW_TO_INSTALL: Final = f"{LITELLM} is not installed: make proxies"
MODEL: Final = "scripted"
TOKENS, FIRST_TOKENS = 200, 8
START_SECONDS: Final = 180.0
LONGEST_SECONDS: Final = 300.0  # at 256 clients a slow proxy takes minutes for two seconds of text


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRow:
    """One program at one number of clients, over all rounds: whole streams, and requests for a few tokens each."""

    name: str
    clients: int
    streams: tuple[Seen, ...]
    requests: tuple[Seen, ...]
    rss_bytes: int
    """Of all its processes, its worker left out."""

    @property
    def events_per_second(self) -> float:
        return statistics.median(seen.events / seen.seconds if seen.seconds else 0.0 for seen in self.streams)

    def first_token(self, which: str) -> float:
        """The median over the rounds of ``first_token_p50`` or ``first_token_p99``, in seconds."""
        return statistics.median(getattr(seen, which) for seen in self.requests)

    @property
    def errors(self) -> Mapping[str, int]:
        total: dict[str, int] = {}
        for seen in (*self.streams, *self.requests):
            for what, count in seen.errors.items():
                total[what] = total.get(what, 0) + count
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyEffort:
    """How much is measured."""

    rounds: int
    seconds: float
    clients: tuple[int, ...] = CLIENTS


def measure_proxies(
    generator: LoadGenerator, effort: ProxyEffort, log: Path, problems: list[str]
) -> Iterator[ProxyRow]:
    """Yield the rows, each program in its turn; one that is not there is left out, and ``problems`` says why.

    Raises:
        StartError: the worker, the host or the relay did not start.
    """
    with ExitStack() as stack:
        engine, spec, arguments = spec_of("scripted", None)
        bare = stack.enter_context(bare_worker(engine, spec, log))
        sides = {
            BARE: bare,
            RELAY: stack.enter_context(relay(working_tree(), log)),
            HOST: stack.enter_context(host(arguments, log)),
        }
        if (ENVIRONMENT / "bin" / "litellm").exists():
            try:
                sides[LITELLM] = stack.enter_context(litellm(bare, log))
            except StartError as error:
                problems.append(f"proxies: {error}")
        else:
            problems.append(f"proxies: {HOW_TO_INSTALL}")
        for side in sides.values():
            _run(generator, side, FIRST_TOKENS, 1, 0.0)  # what a first time costs is no part of it
        for clients in effort.clients:
            yield from _rows(generator, sides, clients, effort)


def _rows(generator: LoadGenerator, sides: Mapping[str, Side], clients: int, effort: ProxyEffort) -> Sequence[ProxyRow]:
    streams: dict[str, list[Seen]] = {name: [] for name in sides}
    requests: dict[str, list[Seen]] = {name: [] for name in sides}
    for _ in range(effort.rounds):
        for name, side in sides.items():
            streams[name].append(_run(generator, side, TOKENS, clients, 0.0))
            requests[name].append(_run(generator, side, FIRST_TOKENS, clients, effort.seconds))
    return [
        ProxyRow(
            name=name,
            clients=clients,
            streams=tuple(streams[name]),
            requests=tuple(requests[name]),
            rss_bytes=_rss_bytes(side, has_worker=name in (HOST, RELAY)),
        )
        for name, side in sides.items()
    ]


def _run(generator: LoadGenerator, side: Side, tokens: int, clients: int, seconds: float) -> Seen:
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"/tokens {tokens} /slow 100"}]}
    call = Call(url=side.url, api_key=side.api_key, body=body)
    return generator.do(Job(calls=(call,), streams=clients, seconds=seconds, longest_seconds=LONGEST_SECONDS))


def _rss_bytes(side: Side, *, has_worker: bool) -> int:
    front = psutil.Process(side.pid)
    others = () if has_worker else front.children(recursive=True)
    return sum(process.memory_info().rss for process in (front, *others))


@contextmanager
def litellm(upstream: Side, log: Path) -> Iterator[Side]:
    """Start LiteLLM's proxy in front of ``upstream``, with nothing but what passes a request on.

    Raises:
        StartError: it ended, or took no connection in time.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(json.dumps(config_of(upstream)))
        command = [str(ENVIRONMENT / "bin" / "litellm"), "--config", str(config)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "127.0.0.1"}
        # The host has no key either; both listen on loopback for the time of a measurement.
        env["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
        with own_server(command, env, log, port=port, timeout=START_SECONDS) as side:
            yield side


def config_of(upstream: Side) -> Mapping[str, object]:
    """Return LiteLLM's configuration, as JSON, which is YAML too."""
    params = {"model": f"openai/{MODEL}", "api_base": f"{upstream.url}/v1", "api_key": upstream.api_key}
    return {
        "model_list": [{"model_name": MODEL, "litellm_params": params}],
        "litellm_settings": {"telemetry": False, "num_retries": 0, "request_timeout": LONGEST_SECONDS},
    }
