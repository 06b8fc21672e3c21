"""Proxies and builds of llama.cpp: what is shown of made-up figures, and what is said of what is not there."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from gguf import GGUFReader
from gguf.quants import dequantize
from rich.console import Console
from rich.table import Table

from bench.engines import bundled
from bench.figures import Seen
from bench.larger import KINDS, Shape, write_larger
from bench.options import parser, read
from bench.rivals import native, proxies, settings
from bench.rivals.command import Rivals, measured_native, measured_proxies, measured_settings
from bench.rivals.native import (
    BUILT,
    BUSY,
    DEFAULTS,
    PYTHON,
    SAME_THREADS,
    SERVER,
    SETTINGS,
    WHEEL,
    Machine,
    NativeEffort,
    NativeRow,
)
from bench.rivals.native_report import cpu_flags, native_notes, native_tables
from bench.rivals.profile import HOST as HOST_PROCESS
from bench.rivals.profile import WORKER, Profile, Share, functions_in, profile
from bench.rivals.proxies import BARE, HOST, LITELLM, ProxyRow, config_of
from bench.rivals.proxies_report import proxies_notes, proxies_table
from bench.rivals.settings import DEFAULT, LOADS, VARIANTS, SettingRow
from bench.rivals.settings_report import settings_table
from bench.rivals.works import ANSWERS, CONTEXT, LONG, SHORT, WORKS, Work
from bench.sides import Side

F16_ONCE = NativeEffort(rounds=1, kinds=["F16"], settings=[SAME_THREADS])


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


def build(name: str, speed: float, which: str = SAME_THREADS) -> NativeRow:
    speeds = {work.name: (speed, speed, 9.0) for work in native.WORKS}
    return NativeRow(build=name, kind="F16", settings=which, speeds=speeds)


def setting(name: str, speed: float, load: str = LOADS[0]) -> SettingRow:
    return SettingRow(kind="F16", load=load, variant=name, speeds={work.name: (speed, 1.0, speed) for work in WORKS})


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


def test_builds_stand_beside_llama_server() -> None:
    rows = [build(WHEEL, 40.0), build(BUILT, 49.5), build(SERVER, 50.0), build(WHEEL, 30.0, DEFAULTS)]
    same, defaults = (shown(table) for table in native_tables(rows))
    assert all(part in same for part in ("0.80", "0.99", "50.0"))
    assert "30.0" in defaults
    notes = native_notes(rows)
    assert f"{SAME_THREADS}, {WHEEL}: at least 0.80 of {SERVER} (F16, four answers)" in notes
    assert any("engines install llamacpp --build native" in note for note in notes)
    assert native_notes([]) == native_tables([]) == []


def test_what_does_not_stream_has_no_speed_of_streams(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(built=None, server=None, has_python=True)
    monkeypatch.setattr(native, "builds", lambda *_: {name: nullcontext(lambda _: 1.0) for name in (WHEEL, PYTHON)})
    monkeypatch.setattr(native, "write_larger", lambda _, path, kind: path.write_text(kind) and path)
    rows = list(native.measure_native(F16_ONCE, machine, tmp_path / "log"))
    assert {
        row.build: set(native.WORKS) - {work for work in native.WORKS if work.name in row.speeds} for row in rows
    } == {
        WHEEL: set(),
        PYTHON: {work for work in native.WORKS if work.is_streamed},
    }
    assert PYTHON.partition(",")[0] in shown(native_tables(rows)[0])


def test_what_is_too_slow_has_a_profile_beside_that_of_llama_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(built=None, server=None, has_python=True)
    seconds = {WHEEL: 2.0, BUILT: 1.0, SERVER: 1.0, PYTHON: 9.0}
    found = {name: nullcontext(lambda _, name=name: seconds[name]) for name in seconds}
    monkeypatch.setattr(native, "builds", lambda *_: found)
    monkeypatch.setattr(native, "write_larger", lambda _, path, kind: path.write_text(kind) and path)
    rows = list(native.measure_native(F16_ONCE, machine, tmp_path / "log"))
    assert {row.build: set(row.profiles) for row in rows} == {
        WHEEL: {work.name for work in native.WORKS},
        BUILT: set(),
        SERVER: {work.name for work in native.WORKS},
        PYTHON: set(),
    }
    notes = [note for note in native_notes(rows) if note.startswith(f"{SAME_THREADS}, F16, prompt of 450: ")]
    assert notes == [
        f"{SAME_THREADS}, F16, prompt of 450: {WHEEL} has 0.50 of {SERVER}: 4.44 ms a token",
        f"{SAME_THREADS}, F16, prompt of 450: {SERVER}: 2.22 ms a token",
    ]


def test_a_profile_says_what_each_process_does_for_a_token() -> None:
    found = Profile(
        seconds=2.0,
        tokens=100,
        shares=(
            Share(process=WORKER, computing_seconds=3.0, waiting_seconds=0.1),
            Share(process=HOST_PROCESS, computing_seconds=0.05, waiting_seconds=0.0),
        ),
        functions=functions_in(
            " 40.20% |libgomp.so |[.] 0x000000000001f7da\n 31.60% |libx.so |[.] (anonymous namespace)::mul<8, float>\n"
            " 11.00% |libgomp.so |[.] 0x000000000001f7de\n  9.10% |[kernel] |[k] do_syscall_64\n\nno line of a table"
        ),
    )
    assert found.line == (
        "20.00 ms a token; worker computes 30.00 and waits 1.00 for a core; modelhost computes 0.50 and waits 0.00 for "
        "a core; in libgomp.so 51 %, (anonymous namespace)::mul 32 %, do_syscall_64 9 %"
    )


def test_a_profile_is_of_the_host_and_its_worker(tmp_path: Path) -> None:
    few = Work(name="few", prompt=4, tokens=2)
    (start,) = native.builds(
        bundled(None), Machine(built=None, server=None, has_python=False), tmp_path / "log", DEFAULTS
    ).values()
    with start as build:
        found = profile(build, few)
    assert {share.process for share in found.shares} == {HOST_PROCESS, WORKER}
    assert all(share.computing_seconds > 0 for share in found.shares)


def test_settings_are_factors_of_the_defaults() -> None:
    rows = [
        setting(DEFAULT, 40.0),
        setting("1 thread", 30.0),
        setting(DEFAULT, 20.0, "busy"),
        setting("b", 30.0, "busy"),
    ]
    text = shown(settings_table(rows))
    assert all(part in text for part in ("40.0", "0.75", "busy", "20.0", "1.50"))


def test_json_holds_every_round() -> None:
    found = Rivals(proxies=[proxy(BARE, 10)], native=[build(WHEEL, 40.0)], settings=[setting(DEFAULT, 2.0)])
    told = json.loads(json.dumps(found.json))
    assert len(told["proxies"][0]["streams"]) == 3
    assert told["native"]["rows"][0]["speeds"][SHORT.name] == [40.0, 40.0, 9.0]
    assert told["settings"][0]["speeds"][LONG.name] == [2.0, 1.0, 2.0]
    assert len(found.tables) == 3
    assert Rivals().tables == Rivals().notes == []


def test_flags_are_those_of_the_first_processor(tmp_path: Path) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor : 0\nflags : fpu avx2 fma amx_tile rdtscp\n\nprocessor : 1\nflags : fpu\n")
    assert cpu_flags(facts) == ("amx_tile", "avx2", "fma")
    assert cpu_flags(tmp_path / "none") == ()


def test_work_counts_what_its_speed_is_about() -> None:
    assert SHORT.counted == SHORT.prompt
    assert ANSWERS.counted == 4 * ANSWERS.tokens
    assert max(work.prompt + work.tokens for work in WORKS) <= CONTEXT


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--only native --load nothing", '--load "nothing" selects nothing of native; there are: as many threads'),
        ("--only settings --load nosuch", '--load "nosuch" selects nothing of settings'),
        ("--only tools --load idle", "it is for scripted, nano, native and settings"),
        ("--only native --rounds 0", "0 is not a whole number above 0"),
        ("--turns 5", "--turns is for native"),
        ("--only settings --turns 5", "--turns is for native"),
        ("--only nano --kind Q4_0", "--kind is for native and settings"),
    ],
)
def test_what_would_measure_nothing_or_something_else_is_refused(
    arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read(arguments.split())
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--load full",
        "--only native --load busy --turns 5 --kind Q4_0",
        "--only settings --load pin_threads --kind F16",
        "--only settings --load idle --rounds 1",
    ],
)
def test_what_selects_something_is_accepted(arguments: str) -> None:
    assert read(arguments.split())


@pytest.mark.parametrize("only", [[], ["--only", "nano"]])
def test_none_is_measured_unless_it_is_named(only: list[str], tmp_path: Path) -> None:
    options = parser().parse_args(only)
    problems: list[str] = []
    assert measured_native(options, tmp_path / "log", 1, problems) == []
    assert measured_settings(options, tmp_path / "log", 1, problems) == []
    assert measured_proxies(None, options, tmp_path / "log", 1, problems) == []  # type: ignore[arg-type]
    assert problems == []


def test_proxy_is_given_the_worker_and_nothing_else() -> None:
    config = json.loads(json.dumps(config_of(Side(url="http://127.0.0.1:1", api_key="k", pid=1, start_seconds=0.0))))
    (model,) = config["model_list"]
    assert model["litellm_params"] == {"model": "openai/scripted", "api_base": "http://127.0.0.1:1/v1", "api_key": "k"}


def test_rows_of_builds_are_tokens_of_all_clients_per_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(built=None, server=None, has_python=False)
    monkeypatch.setattr(native, "builds", lambda *_: {WHEEL: nullcontext(lambda work: 2.0)})
    monkeypatch.setattr(native, "write_larger", lambda _, path, kind: path.write_text(kind) and path)
    idle = [SAME_THREADS, DEFAULTS]
    rows = list(native.measure_native(NativeEffort(rounds=2, settings=idle), machine, tmp_path / "log"))
    assert set(rows[0].speeds) == {work.name for work in native.WORKS}
    assert [(row.kind, row.settings) for row in rows] == [(kind, which) for kind in KINDS for which in idle]
    assert rows[0].speed(ANSWERS) == 4 * ANSWERS.tokens / 2


def test_what_is_not_installed_is_named_with_what_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "INSTALLED", tmp_path / "none")
    monkeypatch.setattr(native, "DATA", tmp_path / "none")
    monkeypatch.setattr("shutil.which", lambda _: None)
    machine = Machine.found(None)
    assert machine.problems == [f"native: {native.HOW_TO_INSTALL}", f"native: {native.NO_SERVER}"]
    assert Machine.found(tmp_path / "llama-server").problems == [f"native: {native.HOW_TO_INSTALL}"]
    assert "make proxies" in proxies.HOW_TO_INSTALL
    few = Work(name="few", prompt=4, tokens=2, clients=2)
    for which in SETTINGS:
        (start,) = native.builds(bundled(None), machine, tmp_path / "log", which).values()
        with start as wheel:
            assert wheel(few) > 0
            assert wheel(replace(few, is_streamed=True)) > 0


def test_everything_that_is_there_is_compared_with_as_many_threads(tmp_path: Path) -> None:
    machine = Machine(built=tmp_path, server=tmp_path / "llama-server", has_python=True)
    log, model = tmp_path / "log", tmp_path / "m.gguf"
    assert list(native.builds(model, machine, log, SAME_THREADS)) == [WHEEL, BUILT, SERVER, PYTHON]
    for which in (DEFAULTS, BUSY):
        assert list(native.builds(model, machine, log, which)) == [WHEEL, BUILT, SERVER]


def test_settings_are_measured_beside_the_default_idle_and_busy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few = (Work(name="few", prompt=4, tokens=2),)
    monkeypatch.setattr(settings, "WORKS", few)
    monkeypatch.setattr(settings, "write_larger", lambda source, path, _: Path(shutil.copy(source, path)))
    rows = list(settings.measure_settings(1, "flash_attention off", ["F16"], tmp_path / "log"))
    assert [(row.load, row.variant) for row in rows] == [
        (load, name) for load in LOADS for name in (DEFAULT, "flash_attention off")
    ]
    assert all(row.speed(few[0]) > 0 for row in rows)
    assert len({each.name for each in VARIANTS}) == len(VARIANTS)


@pytest.mark.parametrize("storage", KINDS[1:])
def test_matrices_of_the_larger_model_are_stored_in_blocks(storage: str, tmp_path: Path) -> None:
    small = Shape(layers=2, width=256, feed_forward=512, heads=4)
    reader = GGUFReader(write_larger(bundled(None), tmp_path / "model.gguf", storage, small))
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.ffn_up.weight"] == {"Q4_K_M": "Q4_K"}.get(storage, storage)
    assert kinds["blk.0.ffn_down.weight"] == {"Q4_K_M": "Q6_K"}.get(storage, storage)
    assert kinds["output_norm.weight"] == "F32"
    for tensor in reader.tensors:
        if tensor.name.endswith(("ffn_up.weight", "ffn_down.weight")):
            weights = dequantize(tensor.data, tensor.tensor_type)
            assert weights.std() == pytest.approx(weights.shape[1] ** -0.5, rel=0.05)
            assert abs(weights.mean()) < 0.05 * weights.std()


def test_a_llama_server_that_is_not_there_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parser().parse_args(["--llama-server", sys.executable]).llama_server == Path(sys.executable)
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(SystemExit):
            parser().parse_args(["--llama-server", str(path)])
        assert f"{path} is no program" in capsys.readouterr().err
