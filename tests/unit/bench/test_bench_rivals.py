"""Proxies and builds of llama.cpp: what is shown of made-up figures, and what is said of what is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gguf import GGUFReader
from rich.console import Console
from rich.table import Table

from bench.engines import bundled
from bench.figures import Seen
from bench.larger import KINDS, write_larger
from bench.options import parser
from bench.rivals import native, proxies
from bench.rivals.command import measured_native, measured_proxies, rival_notes, rival_tables, rivals_json
from bench.rivals.native import CLIENTS, ENGINE, PYTHON, READING, WRITING, NativeRow, Work
from bench.rivals.native_report import cpu_flags, native_notes, native_table
from bench.rivals.proxies import BARE, HOST, LITELLM, ProxyRow, config_of
from bench.rivals.proxies_report import proxies_notes, proxies_table
from bench.sides import Side


def seen(events: int, errors: dict[str, int] | None = None) -> Seen:
    return Seen(
        requests=1,
        events=events,
        seconds=2.0,
        first_token_p50=0.002,
        first_token_p95=0.003,
        first_token_p99=0.004,
        between_p50=0.001,
        between_p95=0.002,
        client_cpu_seconds=0.1,
        errors=errors or {},
    )


def proxy(name: str, events: int, errors: dict[str, int] | None = None) -> ProxyRow:
    runs = (seen(events), seen(events, errors), seen(3 * events))
    return ProxyRow(name=name, clients=16, streams=runs, requests=runs[:1], rss_bytes=67_000_000)


def build(name: str, speed: float) -> NativeRow:
    speeds = {(work.name, clients): (speed, speed, 9.0) for work in (READING, WRITING) for clients in CLIENTS}
    return NativeRow(build=name, kind="F16", speeds=speeds)


def shown(table: Table) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_proxies_stand_beside_the_worker_itself() -> None:
    rows = [proxy(BARE, 3200), proxy(HOST, 3040), proxy(LITELLM, 1000, {"TimeoutError": 2})]
    text = shown(proxies_table(rows))
    assert all(part in text for part in (HOST, LITELLM, "1,520", "0.950", "0.312", "4.00", "67"))
    assert proxies_notes(rows) == ["proxies, 16 clients, LiteLLM: 2 x TimeoutError"]


def test_builds_stand_beside_the_engine() -> None:
    rows = [build(ENGINE, 40.0), build(PYTHON, 50.0)]
    assert "0.800" in shown(native_table(rows))
    assert any("--no-binary xllamacpp" in note for note in native_notes(rows))
    assert native_notes([]) == []


def test_json_holds_every_round() -> None:
    found = json.loads(json.dumps(rivals_json([proxy(BARE, 10)], [build(ENGINE, 40.0)])))
    assert len(found["proxies"][0]["streams"]) == 3
    assert found["native"]["rows"][0]["speeds"]["prompt, 8"] == [40.0, 40.0, 9.0]
    assert len(rival_tables([proxy(BARE, 10)], [build(ENGINE, 40.0)])) == 2
    assert rival_tables([], []) == rival_notes([], []) == []


def test_flags_are_those_of_the_first_processor(tmp_path: Path) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor : 0\nflags : fpu avx2 fma amx_tile rdtscp\n\nprocessor : 1\nflags : fpu\n")
    assert cpu_flags(facts) == ("amx_tile", "avx2", "fma")
    assert cpu_flags(tmp_path / "none") == ()


def test_work_counts_what_its_speed_is_about() -> None:
    assert READING.counted == READING.prompt
    assert WRITING.counted == WRITING.tokens
    assert READING.prompt + READING.tokens <= native.CONTEXT


@pytest.mark.parametrize("only", [[], ["--only", "nano"]])
def test_neither_is_measured_unless_it_is_named(only: list[str], tmp_path: Path) -> None:
    options = parser().parse_args(only)
    problems: list[str] = []
    assert measured_native(options, tmp_path / "log", 1, problems) == []
    assert measured_proxies(None, options, tmp_path / "log", 1, problems) == []  # type: ignore[arg-type]
    assert problems == []


def test_proxy_is_given_the_worker_and_nothing_else() -> None:
    config = json.loads(json.dumps(config_of(Side(url="http://127.0.0.1:1", api_key="k", pid=1, start_seconds=0.0))))
    (model,) = config["model_list"]
    assert model["litellm_params"] == {"model": "openai/scripted", "api_base": "http://127.0.0.1:1/v1", "api_key": "k"}


def test_rows_of_builds_are_tokens_of_all_clients_per_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextmanager
    def one(*_: object) -> Iterator[dict[str, native.Build]]:
        yield {ENGINE: lambda work, clients: 2.0}

    monkeypatch.setattr(native, "builds", one)
    monkeypatch.setattr(native, "write_larger", lambda _, path, kind: path.write_text(kind) and path)
    rows = list(native.measure_native(2, None, tmp_path / "log", []))
    assert [row.kind for row in rows] == list(KINDS)
    assert rows[0].speed(WRITING, 8) == 8 * WRITING.tokens / 2


def test_what_is_not_installed_is_named_with_what_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "INSTALLED", tmp_path / "none")
    monkeypatch.setattr("shutil.which", lambda _: None)
    problems: list[str] = []
    with native.builds(bundled(None), None, tmp_path / "log", problems) as found:
        assert list(found) == [ENGINE]
        assert found[ENGINE](Work(name="generation", prompt=4, tokens=2), 2) > 0
    assert problems == [f"native: {native.HOW_TO_INSTALL}", f"native: {native.NO_SERVER}"]
    assert "make proxies" in proxies.HOW_TO_INSTALL


@pytest.mark.parametrize("storage", KINDS[1:])
def test_matrices_of_the_larger_model_are_stored_in_blocks(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.larger.LAYERS", 1)
    reader = GGUFReader(write_larger(bundled(None), tmp_path / "model.gguf", storage))
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.ffn_up.weight"] == storage
    assert kinds["output_norm.weight"] == "F32"
