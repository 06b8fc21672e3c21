"""``modelhost models scan, pull, list, show, rm`` and ``--smallest``."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants

from modelhost.cli.main import main
from modelhost.models.hub import cache as hub_cache
from tests.support.fake_server import Served
from tests.support.gguf_files import write_model
from tests.support.hub import HubServer, Repository, serve_hub
from tests.support.other_stores import write_lm_studio, write_ollama
from tests.support.unservable import UNSERVABLE
from tests.unit.operations.fake_host import FakeHost

NANO = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
MODEL = "somebody/nano-GGUF"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    write_model(folder / "large.gguf", blocks=6)
    write_model(folder / "small.gguf", blocks=1)
    (folder / "broken.gguf").write_bytes(b"GGUF")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a cache of the test's own: huggingface_hub reads its variables once, when it is imported."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    root = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return root


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    content = {"nano-F16.gguf": NANO.read_bytes(), "README.md": b"# nano"}
    with serve_hub(**{MODEL: Repository(files=content)}) as server:
        source = partial(hub_cache.DownloadSource, endpoint=server.endpoint, retry_wait_seconds=0.0)
        monkeypatch.setattr(hub_cache, "DownloadSource", source)
        yield server


@pytest.mark.promise("mistralrs.models.inventory")
def test_a_scan_writes_the_inventory_and_prints_a_table(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "scan", str(models)]) == 0
    shown = capsys.readouterr()
    rows = {line.split()[0]: line for line in shown.out.splitlines()}
    assert set(rows) == {"Model", "broken", "large", "small"}
    assert "MB at 512" in rows["small"]
    assert "chat, embed" in rows["small"]
    assert "no: " in rows["broken"]
    assert "3 models, 2 usable; written to MODEL_INVENTORY.json" in shown.err
    written = json.loads(Path("MODEL_INVENTORY.json").read_text())
    assert [model["name"] for model in written["models"]] == ["broken", "large", "small"]


def test_what_cannot_be_served_is_shown_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, (write, words) in UNSERVABLE.items():
        assert main(["models", "show", str(write(tmp_path / kind))]) == 1, kind
        assert words in capsys.readouterr().err
    assert main(["models", "scan", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    rows = {line.split()[0]: line for line in shown.out.splitlines()}
    assert all(f"no: {tmp_path}" in rows[kind] for kind in UNSERVABLE)
    assert f"{len(UNSERVABLE)} models, 0 usable" in shown.err


def test_a_scan_as_json_is_what_is_written(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "scan", str(models), "--output", "mine.json", "--context", "256", "--json"]) == 0
    printed = capsys.readouterr().out
    assert printed == Path("mine.json").read_text()
    assert json.loads(printed)["models"][1]["estimate_context"] == 256


def test_a_scan_of_nowhere_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "scan", "nowhere"]) == 1
    assert capsys.readouterr().err == "error: nowhere: there is no such directory\n"


def test_a_pull_prints_the_path_of_a_verified_file(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", f"{MODEL}:F16"]) == 0
    shown = capsys.readouterr()
    path = Path(shown.out.strip())
    assert path.read_bytes() == NANO.read_bytes()
    assert "downloading nano-F16.gguf: 100 %" in shown.err
    assert f"{MODEL}:F16: F16, 5.5 MB" in shown.err
    served = hub.bytes_served
    assert main(["models", "pull", MODEL]) == 0
    assert hub.bytes_served == served


def test_a_pull_takes_a_revision(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    hub.repositories[MODEL].branches = ("main", "v2")
    assert main(["models", "pull", MODEL, "--revision", "v2"]) == 0
    capsys.readouterr()
    assert main(["models", "pull", MODEL, "--revision", "v3"]) == 1
    assert "has no revision 'v3'" in capsys.readouterr().err


def test_a_pull_with_a_url_is_that_hosts_to_do(
    hub: HubServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhost.http.admin.operations.log", SimpleNamespace(info=lambda *_, **__: None))
    with closing_served(FakeHost()) as served:
        assert main(["models", "pull", "org/name:Q8_0", "--revision", "v2", "--url", served.url]) == 0
        shown = capsys.readouterr()
        assert main(["models", "pull", "org/nothing", "--url", served.url]) == 1
    assert served.host.asked[0] == ("pull", "org/name:Q8_0", "v2")
    assert shown.out == "/models/a.gguf\n"
    assert "downloading a.gguf (1 of 2): 50 %" in shown.err
    assert f"org/name:Q8_0 is one of the models of {served.url}" in shown.err
    assert "There is no org/nothing on the hub." in capsys.readouterr().err
    assert hub.request_count == 0


@contextmanager
def closing_served(host: FakeHost) -> Iterator[Served]:
    served = Served(host)
    try:
        yield served
    finally:
        served.stop()


def test_a_pull_that_broke_off_goes_on(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    hub.cut_after.append(3_000_000)
    assert main(["models", "pull", MODEL]) == 0
    assert hub.ranges[-1] is not None
    assert Path(capsys.readouterr().out.strip()).read_bytes() == NANO.read_bytes()


def test_a_gated_model_and_a_wrong_name_say_the_way_out(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    hub.repositories[MODEL].token = "hf_secret"  # noqa: S105
    assert main(["models", "pull", MODEL]) == 1
    assert "is gated: accept its licence" in capsys.readouterr().err
    assert main(["models", "pull", "nano"]) == 1
    assert "is not the name of a model on the hub" in capsys.readouterr().err


def test_offline_a_pull_finds_what_is_here_and_says_why_it_cannot_get_more(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pull", MODEL]) == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = hub.request_count
    assert main(["models", "pull", MODEL]) == 0
    assert hub.request_count == asked
    capsys.readouterr()
    assert main(["models", "pull", "somebody/else-GGUF"]) == 1
    assert "HF_HUB_OFFLINE forbids" in capsys.readouterr().err


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["models", "list", "--json"]) == 0
    return {model["name"]: model for model in json.loads(capsys.readouterr().out)}


@pytest.mark.usefixtures("hub")
def test_the_list_names_every_place(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "scan", str(models)]) == 0
    assert main(["models", "pull", MODEL]) == 0
    Path("models.yaml").write_text(
        "models:\n  - name: mine\n    local_path: models/small.gguf\n  - name: far\n    hf_id: somebody/far-GGUF\n"
    )
    write_ollama(Path.home() / ".ollama" / "models", "registry.ollama.ai/library/llama/latest", NANO.read_bytes())
    write_lm_studio(Path.home() / ".lmstudio" / "models", "org/studio-GGUF/studio.gguf", NANO.read_bytes())
    found = listed(capsys)
    assert {name: model["source"] for name, model in found.items()} == {
        "mine": "registry",
        "far": "registry",
        "broken": "inventory",
        "large": "inventory",
        "small": "inventory",
        MODEL: "cache",
        "llama:latest": "ollama",
        "lmstudio:org/studio-GGUF": "lmstudio",
        "modelhost-nano": "bundled",
    }
    assert found[MODEL]["size_bytes"] == NANO.stat().st_size
    assert found["far"]["path"] is None
    assert main(["models", "list"]) == 0
    assert "not downloaded" in capsys.readouterr().out
    assert main(["models", "show", "far"]) == 1
    assert "modelhost models pull somebody/far-GGUF" in capsys.readouterr().err
    for name in ("mine", "llama:latest", "llama", "lmstudio:org/studio-GGUF"):
        assert main(["models", "show", name]) == 0


def test_the_list_has_the_directories_of_the_cache_and_of_the_registry_with_kind_and_size(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (cache / "models--org--ears" / "snapshots" / ("a" * 40), tmp_path / "own"):
        folder.mkdir(parents=True)
        for file in ("model.bin", "config.json", "vocabulary.json"):
            (folder / file).write_bytes(bytes(100))
    (cache / "models--org--half" / "snapshots" / ("b" * 40)).mkdir(parents=True)
    Path("models.yaml").write_text(f"models:\n  - name: mine\n    local_path: {tmp_path / 'own'}\n")
    found = listed(capsys)
    assert (found["org/ears"]["size_bytes"], found["mine"]["size_bytes"]) == (300, 300)
    assert found["org/ears"]["details"] == "ctranslate2 (aaaaaaaaaaaa)"
    assert "org/half" not in found


@pytest.mark.usefixtures("hub")
def test_a_model_of_the_registry_that_is_downloaded_has_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    Path("models.yaml").write_text(f"models:\n  - name: mine\n    hf_id: {MODEL}\n")
    assert listed(capsys)["mine"]["path"] is None
    assert main(["models", "pull", MODEL]) == 0
    found = listed(capsys)
    assert found["mine"]["path"] == found[MODEL]["path"]
    assert found["mine"]["size_bytes"] == NANO.stat().st_size


def test_show_prints_the_header_and_the_memory_by_context(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "modelhost-nano"]) == 0
    text = capsys.readouterr().out
    assert "2,706,240" in text
    assert "qwen3" in text
    assert "2,048" in text.split("Context", 1)[1]
    assert "im_start" in text


def test_show_as_json_has_all_contexts_up_to_the_models_own(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = write_model(models / "long.gguf", context_length=10_000)
    assert main(["models", "show", str(long), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(facts["need_bytes_by_context"]) == ["2048", "4096", "8192", "10000"]
    assert facts["files"] == [str(long)]
    needs = list(facts["need_bytes_by_context"].values())
    assert needs == sorted(needs)


def test_show_says_why_a_model_cannot_be_used(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", str(models / "broken.gguf")]) == 1
    shown = capsys.readouterr()
    assert "middle of its header" in shown.out
    assert "middle of its header" in shown.err
    assert main(["models", "show", str(models / "broken.gguf"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["is_usable"] is False


def test_show_of_an_unknown_name_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "modelhost-nan"]) == 1
    assert "did you mean modelhost-nano?" in capsys.readouterr().err


@pytest.mark.usefixtures("hub")
def test_rm_removes_a_downloaded_model_and_nothing_else(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", MODEL]) == 0
    other = cache / "models--other--model"
    other.mkdir()
    assert main(["models", "rm", MODEL, "--yes"]) == 0
    assert "5.5 MB are free again" in capsys.readouterr().out
    assert [path.name for path in cache.iterdir() if not path.name.startswith(".")] == ["models--other--model"]
    assert main(["models", "rm", MODEL, "--yes"]) == 1
    assert "is not in the cache" in capsys.readouterr().err


@pytest.mark.usefixtures("hub")
def test_rm_asks_and_a_no_leaves_the_model(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pull", MODEL]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["models", "rm", MODEL]) == 1
    assert (cache / "models--somebody--nano-GGUF").is_dir()
    assert MODEL in listed(capsys)


@pytest.mark.parametrize("name", ["models/small.gguf", "../outside", "models", "a/../b", "nothing/here"])
def test_rm_never_touches_files_outside_the_cache(models: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(models.iterdir())
    assert main(["models", "rm", name, "--yes"]) == 1
    assert "is not in the" in capsys.readouterr().err
    assert sorted(models.iterdir()) == before


@pytest.mark.promise("mistralrs.models.smallest")
def test_the_smallest_model_is_taken_from_the_inventory(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "scan", str(models)]) == 0
    capsys.readouterr()
    assert main(["config", "show", "--smallest", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["settings"]["model"]["value"] == str(models / "small.gguf")
    assert "the smallest model is small" in shown.err


def test_chat_with_the_smallest_starts_it(
    models: Path, own_llm: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "scan", str(models), "-o", "mine.json"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["chat", "--smallest", "--inventory", "mine.json"]) == 0
    assert own_llm.started == [str(models / "small.gguf")]
    capsys.readouterr()
    assert main(["chat", "--smallest", "--url", "http://127.0.0.1:9"]) == 1
    assert "give one of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["serve", "--smallest"], "modelhost models scan DIR"),
        (["chat", "--smallest"], "modelhost models scan DIR"),
        (["serve", "--smallest", "x.gguf"], "both name a model"),
        (["serve", "--inventory", "x.json"], "--inventory is for --smallest"),
    ],
)
def test_the_smallest_without_an_inventory_says_the_way_out(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 1
    assert says in capsys.readouterr().err


def test_a_smallest_model_that_is_gone_says_so(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "scan", str(models)]) == 0
    (models / "small.gguf").unlink()
    assert main(["serve", "--smallest"]) == 1
    assert "not there any more" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["scan", "pull", "list", "show", "rm"])
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", command, "--help"]) == 0
    assert "Examples:" in capsys.readouterr().out
