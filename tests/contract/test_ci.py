"""What the workflows of GitHub run is what developers run, with pinned actions and no more rights than it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
WORKFLOWS: Final = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED: Final = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40}")  # a tag can be moved to other code, a commit cannot
BUILT: Final = {"make package", "make offline-package"}


def _read(workflow: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    return content


def _steps(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in _read(workflow)["jobs"].values():
        yield from job.get("steps", [])


def _commands(workflow: Path) -> list[str]:
    return [step["run"] for step in _steps(workflow) if "run" in step]


def _targets() -> set[str]:
    """What the Makefile makes: its phony targets that have a rule."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    [phony] = re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)
    return {target for target in phony.split() if re.search(rf"^{target}:", makefile, re.MULTILINE)}


def test_there_is_one_for_tests_and_one_for_releases() -> None:
    assert [workflow.name for workflow in WORKFLOWS] == ["release.yml", "test.yml"]
    assert _commands(ROOT / ".github/workflows/test.yml") == ["make test"]
    assert set(_commands(ROOT / ".github/workflows/release.yml")) > BUILT


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_make_command_is_a_target_of_the_makefile(workflow: Path) -> None:
    asked = [re.findall(r"\bmake ([\w-]+)", command) for command in _commands(workflow)]
    assert {target for targets in asked for target in targets} <= _targets()


def test_what_is_attached_is_what_is_built() -> None:
    [attached] = [one for one in _commands(ROOT / ".github/workflows/release.yml") if one.startswith("gh release")]
    assert " dist/*.difypkg " in attached
    for module in ("package", "offline"):
        assert ".difypkg" in (ROOT / f"release/{module}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_commit(workflow: Path) -> None:
    used = [step["uses"] for step in _steps(workflow) if "uses" in step]
    assert used
    assert [action for action in used if not PINNED.fullmatch(action)] == []


def test_only_the_release_may_write_and_nothing_but_contents() -> None:
    for workflow in WORKFLOWS:
        read = _read(workflow)
        assert read["permissions"] == {"contents": "read"}, workflow
        for name, job in read["jobs"].items():
            assert job.get("permissions", {}) == ({"contents": "write"} if name == "release" else {}), workflow
            assert name != "release" or job["needs"] == "test"


def test_ci_and_developers_run_the_same_command() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")
