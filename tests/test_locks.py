"""Lock files: exact versions with hashes, no address of an index, and what pyproject.toml admits."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
ENGINES = ROOT / "src" / "modelhost" / "engines" / "locks"
LOCKS = sorted([*(ROOT / "locks").glob("**/*.txt"), *ENGINES.glob("*.txt")])
NODE_LOCKS = sorted((ROOT / "locks").glob("*/package-lock.json"))
TORCH = ENGINES / "torch.txt"
CLIENTS = ROOT / "locks" / "clients"
EXTRAS = ("mlx", "otel", "socks", "transformers")
ADDRESS = re.compile(r"\w+://|--(?:index|extra-index|find-links|trusted-host)")


def _entries(lock: Path) -> list[str]:
    """The entries of a lock file, a line each, with their hashes."""
    text = re.sub(r"\\\n\s*", "", lock.read_text())
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _versions(lock: Path) -> dict[str, Version]:
    """What a lock file lists for this Python and platform."""
    found = {}
    for entry in _entries(lock):
        requirement = Requirement(entry.partition("--hash")[0].strip())
        if requirement.marker is None or requirement.marker.evaluate():
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", entry
            found[canonicalize_name(requirement.name)] = Version(specifier.version)
    return found


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _required(*extras: str) -> list[Requirement]:
    project = _project()
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    found = [Requirement(line) for line in wanted if not line.startswith("modelhost[")]
    return [requirement for requirement in found if requirement.marker is None or requirement.marker.evaluate()]


@pytest.mark.parametrize("lock", [lock for lock in LOCKS if lock != TORCH], ids=lambda lock: lock.stem)
def test_everything_has_an_exact_version_and_hashes(lock: Path) -> None:
    assert _versions(lock)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in _entries(lock))


def test_torch_is_exact_and_without_the_hashes_that_only_one_of_its_builds_has() -> None:
    assert Version("2.13.0") == _versions(TORCH)["torch"]
    assert "--hash" not in TORCH.read_text()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_no_address_of_an_index_stands_in_a_lock_file(lock: Path) -> None:
    assert not ADDRESS.search(lock.read_text())


@pytest.mark.parametrize("lock", NODE_LOCKS, ids=lambda lock: lock.parent.name)
def test_packages_of_npm_have_exact_versions_hashes_and_no_addresses(lock: Path) -> None:
    packages = {place: about for place, about in json.loads(lock.read_text())["packages"].items() if place}
    assert packages
    assert all(about["integrity"] and about["version"] for about in packages.values())
    assert not any("resolved" in about for about in packages.values())


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("run", ()), ("oldest", EXTRAS), ("develop", (*EXTRAS, "dev"))],
)
def test_a_lock_holds_what_the_project_requires(lock: str, extras: tuple[str, ...]) -> None:
    versions = {**_versions(TORCH), **_versions(ROOT / "locks" / f"{lock}.txt")}
    for requirement in _required(*extras):
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, f"{requirement}: run `make lock`"


def test_oldest_is_the_lower_end_of_each_range() -> None:
    versions = _versions(ROOT / "locks" / "oldest.txt")
    for requirement in _required("mlx", "transformers"):
        if requirement.name != "torch":
            lowest = min(Version(part.version) for part in requirement.specifier if part.operator in (">=", "=="))
            assert versions[canonicalize_name(requirement.name)].release[:2] == (*lowest.release, 0)[:2], (
                requirement.name
            )


def test_the_build_of_llama_cpp_is_of_the_version_that_the_host_is_made_for() -> None:
    name = "xllamacpp"
    built = _versions(ENGINES / "llamacpp.txt")
    assert built == {name: _versions(ROOT / "locks" / "run.txt")[name]}
    assert all(built[name] in wanted.specifier for wanted in _required() if wanted.name == name)


def test_each_outside_client_is_locked_and_documented_with_its_version() -> None:
    # What else stands there is what the client needs for this.
    wanted = {path.stem: Requirement(path.read_text().splitlines()[0]) for path in CLIENTS.glob("*.in")}
    assert wanted.keys() == {path.stem for path in CLIENTS.glob("*.txt")}
    versions = {name: _versions(CLIENTS / f"{name}.txt")[canonicalize_name(wanted[name].name)] for name in wanted}
    assert all(versions[name] in wanted[name].specifier for name in wanted)
    table = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    assert [name for name in wanted if f"| `{name}` | {wanted[name].name} {versions[name]}" not in table] == []


def test_what_runs_is_what_is_tested() -> None:
    run, develop = (_versions(ROOT / "locks" / f"{name}.txt") for name in ("run", "develop"))
    assert run.items() <= develop.items()
