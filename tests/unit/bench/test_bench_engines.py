"""The rows of the engines: their arithmetic and judgement on made-up figures, and the real thing once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.numpy import load_file

from bench import contenders
from bench.__main__ import main
from bench.contenders import ENGINES, HOST, MLX_SERVER, WORKER, contest_of, why_not
from bench.contest import EngineFigures, EngineRow, Run
from bench.contest_report import engine_checks, engine_notes, engine_table, engines_json
from bench.endless import MARKERS, SOURCE, write_endless
from bench.figures import Seen


def run(tokens: int, errors: dict[str, int] | None = None) -> Run:
    seen = Seen(
        requests=1,
        events=3,
        seconds=2.0,
        first_token_p50=0.01,
        first_token_p95=0.02,
        between_p50=0.001,
        between_p95=0.002,
        client_cpu_seconds=0.1,
        errors=errors or {},
        tokens=tokens,
    )
    return Run(seen=seen, front_cpu_seconds=0.5, whole_cpu_seconds=2.0)


def figures(*, server: int = 2000, worker: int = 2200, host: int = 1900, host_start: float = 2.0) -> EngineFigures:
    runs = {
        name: (run(tokens), run(tokens), run(10 * tokens))
        for name, tokens in {MLX_SERVER: server, WORKER: worker, HOST: host}.items()
    }
    return EngineFigures(
        engine="mlx",
        reference=MLX_SERVER,
        rival=MLX_SERVER,
        starts={MLX_SERVER: (1.9, 1.9, 9.0), WORKER: (1.0, 1.0, 1.0), HOST: (host_start,) * 3},
        rows=tuple(EngineRow(clients=clients, runs=runs) for clients in (1, 8)),
    )


def test_tokens_are_those_of_the_usage_and_not_the_events() -> None:
    row = figures().rows[0]
    assert row.tokens_per_second(MLX_SERVER) == 1000
    assert row.ratio(HOST, MLX_SERVER) == pytest.approx(0.95)
    assert row.cpu_per_1000_tokens(HOST, "front_cpu_seconds") == pytest.approx(1.5 / 22.8)


def test_ratio_to_a_side_that_is_not_there_is_none() -> None:
    row = figures().rows[0]
    assert row.ratio(HOST, "vllm serve") is None
    nothing = replace(row, runs={MLX_SERVER: (run(0),), HOST: (run(0),)})
    assert nothing.ratio(HOST, MLX_SERVER) is None
    assert nothing.cpu_per_1000_tokens(HOST, "front_cpu_seconds") is None


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (figures(), []),
        (
            figures(host=1899),
            [f"tokens/s at {clients}, host over mlx_lm.server" for clients in ("1 client", "8 clients")],
        ),
        (figures(worker=2000), ["tokens/s at 8 clients, its worker over mlx_lm.server"]),
        (figures(host_start=2.01), ["start to the first token, mlx_lm.server's seconds over the host's"]),
    ],
)
def test_each_figure_has_its_target(found: EngineFigures, missed: list[str]) -> None:
    assert [check.what for _, check in engine_checks([found]) if not check.is_reached] == missed


def test_engine_without_a_rival_is_not_raced() -> None:
    alone = replace(figures(), rival=None)
    assert not [check for _, check in engine_checks([alone]) if "worker" in check.what]


def test_report_json_and_notes_show_every_side() -> None:
    found = figures()
    wrong = EngineRow(clients=32, runs={MLX_SERVER: (run(0, {"ended before [DONE]": 2}),), HOST: (run(64),)})
    console = Console(width=150)
    with console.capture() as capture:
        console.print(engine_table(replace(found, rows=(*found.rows, wrong))))
    text = capture.get()
    assert all(name in text for name in (MLX_SERVER, WORKER, HOST, "start"))
    assert engine_notes([replace(found, rows=(wrong,))]) == [
        "engine mlx, 32 clients, mlx_lm.server: 2 x ended before [DONE]"
    ]
    (engine,) = json.loads(json.dumps(engines_json([found])))["engines"]
    assert len(engine["rows"][0]["sides"][HOST]["rounds"]) == 3
    assert engine["start_seconds"][WORKER] == [1.0, 1.0, 1.0]


def test_endless_model_gives_the_end_no_score_and_is_otherwise_the_bundled_one(tmp_path: Path) -> None:
    endless = write_endless(tmp_path / "endless")
    weights, before = load_file(endless / "model.safetensors"), load_file(SOURCE / "model.safetensors")
    output = weights.pop("lm_head.weight")
    assert not output[:MARKERS].any()
    assert (output[MARKERS:] == before["model.embed_tokens.weight"][MARKERS:]).all()
    assert all((weights[name] == before[name]).all() for name in before)


def test_engine_that_is_not_installed_is_named_with_what_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(contenders, "worker_python", lambda engine: None)
    monkeypatch.setattr(contenders, "missing_modules", lambda engine: (engine,))
    assert "make test-engines, or modelhost engines install vllm" in str(why_not("vllm"))
    assert "pip install 'modelhost[mlx]'" in str(why_not("mlx"))
    main(["--only", "engines", "--engine", "vllm", "--output", str(tmp_path)])
    (result,) = tmp_path.glob("*.json")
    assert json.loads(result.read_text())["engines"] == []
    assert "engine vllm: not measured" in json.loads(result.read_text())["problems"][0]


@pytest.mark.parametrize("engine", ENGINES)
def test_worker_and_host_stand_beside_the_server_of_the_engine(engine: str) -> None:
    contest = contest_of(engine, None, SOURCE)
    names = [contender.name for contender in contest.contenders]
    assert names[-1] == HOST
    assert (WORKER in names) == (engine != "vllm")
    assert contest.reference in names[:-1]
    assert contest.rival in {None, *names}


def test_servers_of_mlx_and_the_host_write_the_same_number_of_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--quick", "--only", "engines", "--engine", "mlx", "--streams", "1", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")
    result: dict[str, Any] = json.loads(path.read_text())
    assert result["problems"] == []
    (row,) = result["engines"][0]["rows"]
    assert set(row["sides"]) == {MLX_SERVER, WORKER, HOST}
    for side in row["sides"].values():
        assert side["rounds"][0]["seen"]["tokens"] >= 64
        assert side["rounds"][0]["seen"]["errors"] == {}
    assert "mlx: the host beside mlx_lm.server" in capsys.readouterr().out
