"""Every document of the project: its links, JSON, commands and quoted messages are true.

``make`` is run dry here; what makes and reads backups is run by ``acceptance/test_backup.py``, what converts workflows
by ``test_convert_workflow.py``. Of a command that needs Dify's containers the form is checked, and what it installs. A
command that is none of these fails, so that each new one gets a check.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from release.package import packed_files
from utils import messages

ROOT: Final = Path(__file__).resolve().parents[2]
TRANSLATIONS: Final = ("readme/README_zh_Hans.md", "readme/README_ja_JP.md", "readme/README_pt_BR.md")
DOCUMENTS: Final = (
    "README.md", *TRANSLATIONS, "CONFIG.md", "PRIVACY.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md",
    "MIGRATION.md", "_assets/workflows/README.md",
)  # fmt: skip
TEXTS: Final = {path: (ROOT / path).read_text(encoding="utf-8") for path in DOCUMENTS}
# The repository has these, the package does not; what is packed may link to them all the same.
ON_GITHUB_ALONE: Final = {"CONTRIBUTING.md", "MIGRATION.md", "SECURITY.md", "_assets/workflows/README.md"}
SHELL: Final = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BACKUP: Final = TEXTS["CONFIG.md"].partition("\n## Backup\n")[2].partition("\n## ")[0]


def commands() -> list[tuple[str, str]]:
    """Every line of every shell block, and of every code span that reads like one, with its document."""
    found = []
    for path, text in TEXTS.items():
        lines = [line for block in SHELL.findall(text) for line in block.splitlines()]
        spans = re.findall(r"(?<!`)`((?:make|python|pip|uv|docker|dify-plugin) [^`\n]+)`(?!`)", text)
        found += [(path, line) for line in (*lines, *spans) if line and not line.startswith("#")]
    return sorted(set(found))


def anchors(text: str) -> set[str]:
    """The addresses of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path: str) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", TEXTS[path]):
        name, _, section = target.partition("#")
        document = os.path.normpath(Path(path).parent / name) if name else path
        assert (ROOT / document).is_file(), target
        if section:
            assert section in anchors(TEXTS[document]), target


def test_pictures_and_linked_documents_are_packed() -> None:
    packed = set(packed_files(ROOT))
    for path in packed & set(DOCUMENTS):
        for mark, target in re.findall(r"(!?)\[[^\]]*\]\((?!https?://|#)([^)#]+)", TEXTS[path]):
            document = os.path.normpath(Path(path).parent / target)
            assert document in packed or (not mark and document in ON_GITHUB_ALONE), (path, target)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_json_is_json(path: str) -> None:
    for marks, block in re.findall(r"```json( lines)?\n(.*?)\n```", TEXTS[path], re.DOTALL):
        for text in block.splitlines() if marks else [block]:
            json.loads(text)


def test_the_changelog_keeps_its_form() -> None:
    lines = TEXTS["CHANGELOG.md"].splitlines()
    heads = [line for line in lines if line.startswith("## ")]
    assert heads[0] == "## [Unreleased]"
    assert all(re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head) for head in heads[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for section in TEXTS["CHANGELOG.md"].split("\n## ")[1:]:
        told = re.findall(r"^### (.+)$", section, re.MULTILINE)
        assert set(told) <= kinds and len(set(told)) == len(told), section[:20]
        entries = [line for line in section.splitlines() if line.startswith("- ")]
        assert len({re.split(r"[.;]", entry)[0] for entry in entries}) == len(entries), "an entry that is there twice"
        assert not re.search(r"^- .*\n\n- ", section, re.MULTILINE), "a blank line inside a list"


# --- Commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "command"), [one for one in commands() if one[1].startswith("make ")])
def test_make_has_the_target(path: str, command: str) -> None:
    words = command.split()
    done = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{path}: {command}: {done.stderr}"


@pytest.mark.parametrize(("path", "command"), [one for one in commands() if " install " in one[1]])
def test_what_is_installed_has_a_name(path: str, command: str) -> None:
    if "-r" in (words := command.split()):
        assert (ROOT / words[-1]).is_file(), (path, command)
    else:
        assert Requirement(command.rstrip("'").split()[-1]).name in TEXTS["CONFIG.md"], (path, command)


@pytest.mark.parametrize(("path", "command"), [one for one in commands() if re.match(r"\S*python -m ", one[1])])
def test_python_finds_the_module(path: str, command: str) -> None:
    module = command.split()[2]
    assert importlib.util.find_spec(module) is not None, (path, command)


@pytest.mark.parametrize(("path", "command"), commands())
def test_every_command_is_one_that_is_checked(path: str, command: str) -> None:
    subprocess.run(["bash", "-n", "-c", command], check=True)
    setting = re.fullmatch(r"[A-Z_]+=\w+", command)
    first = "a setting" if setting else command.split()[0].rpartition("/")[2]
    checked = {"make", "python", "pip", "docker", "dify-plugin", "a setting"}
    assert first in checked or command in BACKUP, (path, command)


# --- Messages -------------------------------------------------------------------------------------------------------


def quoted() -> list[str]:
    """The sentences in the table of what the plugin says."""
    table = TEXTS["CONFIG.md"].partition("| It says |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def patterns() -> list[re.Pattern[str]]:
    """Each sentence of the English catalogue, with something for each placeholder."""
    sentences = messages.catalogue("en_US").values()
    return [
        re.compile(".+".join(re.escape(part) for part in re.split(r"(?<!\{)\{\w+\}(?!\})", one))) for one in sentences
    ]


@pytest.mark.parametrize("sentence", quoted())
def test_a_quoted_message_is_one_of_the_plugin(sentence: str) -> None:
    assert any(pattern.fullmatch(sentence) for pattern in patterns())


def test_the_commonest_troubles_are_told() -> None:
    told = quoted()
    assert len(told) > 20
    for key in ("check_connection_refused_locally", "error_overload", "store_other_dims", "service_unavailable"):
        [start] = re.findall(r"[^{}]{12,}", messages.catalogue("en_US")[key])[:1]
        assert any(start.strip() in sentence for sentence in told), key
