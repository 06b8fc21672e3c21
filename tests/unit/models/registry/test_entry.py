"""The settings of an entry: its own, the file's and the host's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelhost.config.settings import Settings
from modelhost.workers.machine import allowed_cores
from tests.support.registry_files import entry_of, problem_of, registry_of


def test_an_entry_has_the_host_s_settings_but_not_those_of_another_model(tmp_path: Path) -> None:
    base = Settings(
        model="other.gguf",
        alias=("other",),
        revision="r",
        lora=("a",),
        draft_model="d",
        mmproj="m",
        chat_template="t",
        context_length=100,
        request_timeout=7,
        engine_options={"mmap": False, "cache_ram_mib": 1},
    )
    found = entry_of(tmp_path, "params: {slots: 2, engine_options: {cache_ram_mib: 2}}", base).settings
    assert (found.context_length, found.request_timeout, found.slots) == (100, 7, 2)
    assert found.engine_options == {"mmap": False, "cache_ram_mib": 2}
    assert (found.alias, found.revision, found.lora) == (("x",), None, ())
    assert (found.draft_model, found.mmproj, found.chat_template) == (None, None, None)


def test_the_bound_of_an_entry_is_stronger_than_slots_of_the_host(tmp_path: Path) -> None:
    found = entry_of(tmp_path, "params: {max_num_seqs: 2}", Settings(slots=8)).settings
    assert (found.slots, found.max_slots) == (None, 2)


def test_options_of_the_host_s_engine_are_not_given_to_another_one(tmp_path: Path) -> None:
    base = Settings(engine_options={"mmap": False})
    assert entry_of(tmp_path, base=base, source="engine: scripted").settings.engine_options == {}


def test_the_entry_s_own_keys_win_over_its_parking_lot(tmp_path: Path) -> None:
    keys = """
        queue_size: 1
        request_timeout: 2
        load_timeout: 3
        max_in_flight: 4
        stall_timeout: 5
        revision: v1
        params: {threads: 1, parking_lot: {limits: {max_queue_depth: 9}}}
        parking_lot: {pool: {worker_threads: 1, max_queue_depth: 8, timeout_secs: 8}}
    """
    found = entry_of(tmp_path, keys).settings
    assert (found.queue_size, found.request_timeout, found.load_timeout) == (1, 2, 3)
    assert (found.max_in_flight, found.stall_timeout, found.revision) == (4, 5, "v1")


def test_more_worker_threads_than_cores_are_bounded_and_more_threads_refused(tmp_path: Path) -> None:
    cores = allowed_cores()
    registry = registry_of(
        tmp_path,
        "parking_lot: {pool: {worker_threads: 9999}}\nmodels: [{name: x, hf_id: a/b}]",
    )
    assert registry.entries[0].settings.threads == cores
    assert f"9999 is more than the {cores} cores" in registry.warnings[0]
    assert problem_of(tmp_path, "params: {threads: 9999}").startswith(
        f'"params.threads": 9999 is more than the {cores}'
    )


@pytest.mark.parametrize(
    ("top", "own", "seconds"),
    [("", "", 9), ("60", "", 60), ("60", "30", 30), ("null", "", None), ("60", "null", None)],
)
def test_idle_seconds_are_the_entry_s_then_the_file_s_then_the_host_s_and_null_is_never(
    tmp_path: Path, top: str, own: str, seconds: float | None
) -> None:
    head = f"idle_unload_secs: {top}\n" if top else ""
    tail = f", idle_unload_secs: {own}" if own else ""
    text = f"{head}models: [{{name: x, hf_id: a/b{tail}}}]"
    (entry,) = registry_of(tmp_path, text, Settings(idle_unload_secs=9)).entries
    assert entry.idle_unload_seconds == entry.settings.idle_unload_secs == seconds


def test_the_python_is_a_path_beside_the_file_or_a_name_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(sys.executable)
    # Not what the link leads to: that one does not know the virtual environment.
    assert entry_of(tmp_path, "python: venv/bin/python").settings.worker_python == str(link)
    monkeypatch.setenv("PATH", str(link.parent))
    assert entry_of(tmp_path, "python: python").settings.worker_python == str(link)
    assert problem_of(tmp_path, "python: pythn") == '"python": there is no program pythn'
    assert problem_of(tmp_path, "python: ./python") == '"python": there is no program ./python'
    assert problem_of(tmp_path, "python: models.yaml") == '"python": there is no program models.yaml'


def test_variables_are_added_to_the_host_s_and_not_expanded(tmp_path: Path) -> None:
    base = Settings.model_validate({"worker_env": {"A": "1", "B": "1"}})
    found = entry_of(tmp_path, 'env: {B: 2, C: "${HOME}", D: ""}', base).settings.worker_env
    assert {name: value.get_secret_value() for name, value in found.items()} == {
        "A": "1",
        "B": "2",
        "C": "${HOME}",
        "D": "",
    }
    assert problem_of(tmp_path, 'env: {"A B": x}') == '"env": "A B" is no name of a variable'
    assert problem_of(tmp_path, "env: {A: [1]}") == '"env.A": expected text, got [1]'


@pytest.mark.promise("mistralrs.models.devices")
def test_the_gpus_of_an_entry_are_variables_of_its_worker(tmp_path: Path) -> None:
    def env(keys: str) -> dict[str, str]:
        found = entry_of(tmp_path, keys).settings.worker_env
        return {name: value.get_secret_value() for name, value in found.items()}

    assert env("params: {device_ids: [1, 0]}") == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1,0"}
    assert env("params: {device_ids: []}") == {"CUDA_VISIBLE_DEVICES": ""}
    assert problem_of(tmp_path, 'params: {device_ids: [1]}\nenv: {CUDA_VISIBLE_DEVICES: "0"}') == (
        '"env": "params.device_ids" sets CUDA_VISIBLE_DEVICES already; keep one'
    )


def test_defaults_are_only_what_is_given(tmp_path: Path) -> None:
    keys = "params: {temperature: 0, top_k: -1, stop: END, seed: 7, max_tokens: 5, repeat_penalty: 1.1, min_p: null}"
    assert entry_of(tmp_path, keys).defaults == {
        "temperature": 0,
        "top_k": -1,
        "stop": ["END"],
        "seed": 7,
        "max_tokens": 5,
        "repetition_penalty": 1.1,
    }
