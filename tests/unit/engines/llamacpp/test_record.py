"""What is remembered of a build of llama.cpp, and the machines that do not get it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelhost.config.settings import Settings
from modelhost.engines import ENGINES, installed
from modelhost.engines.environments import FINISHED, PYTHON, folder_of
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.config import engine_version
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.machine import Processor, this_processor
from modelhost.engines.llamacpp.record import BuildRecord, locked_version, read_record, why_unused
from modelhost.models.resolve.runtime import Runtime
from tests.support.engine_environments import pretend_built

PROCESSOR = Processor(architecture="x86_64", name="A Processor", flags=frozenset({"avx2", "fma", "avx512f"}))
RECORD = BuildRecord(
    version=locked_version(),
    build="native",
    has_llguidance=True,
    features=("AVX2", "AVX512"),
    needs=("avx2", "avx512f"),
    processor="A Processor",
    factors={"prompts": 1.5, "answers": 1.07},
    scores_differ_by=0.0061,
    other_answers={"Bye": 0.004},
)


def _python(settings: Settings) -> tuple[str | None, bool]:
    """The Python of a worker, and whether the host's own can stand in for it."""
    runtime = Runtime.of(ENGINES["llamacpp"], settings)
    return runtime.python, runtime.has_fallback


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    assert why_unused(tmp_path) is None
    python = pretend_built(tmp_path, RECORD)
    assert read_record(tmp_path) == RECORD
    assert why_unused(tmp_path, PROCESSOR) is None
    said = json.loads((folder_of("llamacpp", tmp_path) / FINISHED).read_bytes())
    assert said["factors"] == {"prompts": 1.5, "answers": 1.07}
    assert (said["engine"], said["build"], said["has_llguidance"]) == ("llamacpp", "native", True)
    assert python.exists()


@pytest.mark.parametrize(
    ("build", "factors", "is_slower"),
    [
        ("native", {"prompts": 1.5, "answers": 0.9}, False),
        ("native", {"prompts": 0.8, "answers": 1.1}, True),
        ("cuda", {"prompts": 0.5, "answers": 0.5}, False),  # the bundled model is too small for a GPU
        ("native", {}, False),
    ],
)
def test_a_build_is_slower_if_prompts_and_answers_together_are(
    build: str, factors: dict[str, float], *, is_slower: bool
) -> None:
    assert replace(RECORD, build=build, factors=factors).is_slower is is_slower


def test_the_record_says_how_its_results_compare_with_those_of_the_wheel() -> None:
    assert replace(RECORD, scores_differ_by=None).likeness == ""
    assert replace(RECORD, other_answers={}).likeness == "scores within 0.0061 of the wheel's, the same answers"
    assert RECORD.likeness.endswith('as likely within rounding: "Bye" (two tokens 0.0040 apart)')


def test_another_machine_does_not_run_what_it_lacks_the_instructions_for(tmp_path: Path) -> None:
    pretend_built(tmp_path, RECORD)
    other = Processor(architecture="x86_64", flags=frozenset({"avx2", "fma"}))
    assert why_unused(tmp_path, other) == (
        "this processor lacks what it was compiled for: avx512f (it was built on A Processor)"
    )


THIS_NATIVE = f'"version": "{locked_version()}", "build": "native"'


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (
            '{"version": "2020.1", "build": "native", "needs": []}',
            "it is version 2020.1, and this modelhost is made for ",
        ),
        ('{"version": "2020.1"', f"{FINISHED} is damaged"),
        ('{"version": "2020.1", "since": 3}', f"{FINISHED} is damaged"),
        ("null", f"{FINISHED} is damaged"),
        (f"{{{THIS_NATIVE}}}", f"{FINISHED} is damaged"),  # what does it need?
        (f'{{"version": "{locked_version()}", "build": "warp", "needs": []}}', f"{FINISHED} is damaged"),
        ('["native"]', f"{FINISHED} is damaged"),
        (
            f'{{"version": "{locked_version()}", "build": "native", "needs": [], "factors": null}}',
            f"{FINISHED} is damaged",
        ),
        (f'{{{THIS_NATIVE}, "needs": [], "factors": {{"prompts": "quick"}}}}', f"{FINISHED} is damaged"),
    ],
)
def test_a_build_for_another_modelhost_is_not_used(tmp_path: Path, written: str, why: str) -> None:
    pretend_built(tmp_path, RECORD)
    (folder_of("llamacpp", tmp_path) / FINISHED).write_text(written)
    assert why in (why_unused(tmp_path) or "")
    assert installed.environment_of("llamacpp", tmp_path) is None
    (facts,) = [each for each in installed.engine_facts(tmp_path) if each.name == "llamacpp"]
    assert (facts.is_installed, facts.build) == (True, "wheel")
    assert facts.remark is not None
    assert facts.remark.endswith("Anew: modelhost engines install llamacpp")


def _without_python(folder: Path) -> None:
    (folder / PYTHON).unlink()


def _with_python_of_none(folder: Path) -> None:
    (folder / PYTHON).unlink()
    (folder / PYTHON).symlink_to("/none/python")


def _without_record(folder: Path) -> None:
    (folder / FINISHED).unlink()


def _with_folder_as_record(folder: Path) -> None:
    (folder / FINISHED).unlink()
    (folder / FINISHED).mkdir()


@pytest.mark.parametrize(
    ("lose", "why"),
    [
        (_without_python, f"its Python, {{folder}}/{PYTHON}, is missing, or the one that it was made with"),
        (_with_python_of_none, f"its Python, {{folder}}/{PYTHON}, is missing, or the one that it was made with"),
        (_without_record, f"{{folder}}/{FINISHED} is missing"),
        (_with_folder_as_record, f"{{folder}}/{FINISHED} is damaged"),
    ],
)
def test_a_build_that_has_lost_a_part_is_not_used_and_told_of(
    tmp_path: Path, lose: Callable[[Path], None], why: str
) -> None:
    pretend_built(tmp_path, RECORD)
    folder = folder_of("llamacpp", tmp_path)
    lose(folder)
    assert installed.why_environment_unused("llamacpp", tmp_path) == why.format(folder=folder)
    assert installed.environment_of("llamacpp", tmp_path) is None
    (facts,) = [each for each in installed.engine_facts(tmp_path) if each.name == "llamacpp"]
    assert (facts.is_installed, facts.build) == (True, "wheel")
    assert facts.remark is not None
    assert facts.remark.startswith(f"The build that is here is not used: {why.format(folder=folder)}")


def test_a_model_gets_the_build_before_the_wheel_and_the_wheel_stands_in(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": str(tmp_path)})
    assert _python(settings) == (None, False)
    record = BuildRecord(version=locked_version(), build="native", needs=tuple(this_processor().flags)[:3])
    python = pretend_built(tmp_path, record)
    assert _python(settings) == (
        str(python),
        True,
    )
    (facts,) = [each for each in installed.engine_facts(tmp_path) if each.name == "llamacpp"]
    assert (facts.build, facts.location, facts.version) == ("native", str(python.parents[1]), locked_version())
    spec = ModelSpec(name="one", path=Path("one.gguf"), python=str(python), has_fallback=True)
    assert LlamaCpp().launch(spec, "key").config["build"] == "native"
    assert LlamaCpp().launch(replace(spec, has_fallback=False), "key").config["build"] is None
    server = settings.model_copy(update={"engine_options": {"server": "/bin/true"}})
    assert _python(server) == (None, False)
    own = settings.model_copy(update={"worker_python": "/other/python"})
    assert _python(own) == ("/other/python", False)


def test_the_version_of_a_build_names_its_kind() -> None:
    assert engine_version("0.5.0", {"build": "native"}) == "0.5.0 (native)"
    assert engine_version("0.5.0", {"build": None}) == "0.5.0"
