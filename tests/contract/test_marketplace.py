"""What Dify's marketplace checks before it takes a package, done on the package itself.

Sources: the marketplace's submission requirements (langgenius/dify-plugins, ``docs/plugin-submission-requirements.md``
and ``.github/workflows/pre-check-plugin.yaml``) and the validator that its reviewers run (README.md of
langgenius/dify-marketplace-toolkit). What needs the marketplace is not here: whether the version was published before,
and what the pull request says. Two fields are the publisher's own: the address of the repository and an e-mail address
to write to. They are not made up here; ``CONTRIBUTING.md`` names them among what a release needs.
"""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pytest
import yaml
from packaging.requirements import Requirement

from release.package import MAX_UNPACKED_BYTES, ROOT, packed_files, write_package
from tests.conftest import PROJECT_ROOT

MAX_FILES: Final = 5_000
UNWANTED_PARTS: Final = {
    ".git", ".hg", ".svn", ".venv", "venv", "env", "__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".tox",
    ".nox", ".idea", ".vscode", "node_modules", "build", "dist", "tests", ".DS_Store", ".gitconfig", "Thumbs.db",
    "desktop.ini", "id_rsa", ".env",
}  # fmt: skip
UNWANTED_SUFFIXES: Final = {
    ".key", ".pem", ".p12", ".pfx", ".pyc", ".pyo", ".log", ".tmp", ".swp", ".swo", ".bak", ".zip", ".tar", ".gz",
    ".tgz", ".bz2", ".xz", ".7z", ".rar", ".dll", ".dylib", ".exe", ".node", ".pyd", ".so", ".app", ".bin", ".command",
    ".run", ".sh", ".whl",
}  # fmt: skip
PROGRAMS: Final = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba", b"#!")
SECRETS: Final = re.compile(
    rb"\bsk-[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9_]{20,}|\bxox[baprs]-[A-Za-z0-9-]{10,}|\bAKIA[0-9A-Z]{16}\b"
    rb"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
REQUIRED: Final = (
    "author", "name", "version", "type", "icon", "plugins", "privacy", "repo", "contact", "label.en_US",
    "description.en_US", "meta.version", "meta.arch", "meta.runner.language", "meta.runner.version",
    "meta.runner.entrypoint", "meta.minimum_dify_version",
)  # fmt: skip
PUBLISHERS_OWN: Final = {"repo", "contact"}
SOURCE: Final = re.compile(
    r"https?://(www\.)?(github\.com|gitlab\.com|bitbucket\.org|gitee\.com|codeberg\.org|git\.sr\.ht)/\S+"
)
E_MAIL: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
# A README has to tell each of these; the marketplace looks for one of the words.
README_TELLS: Final = {
    "setup": ("install", "configure", "setup"),
    "usage": ("usage", "example", "workflow"),
    "credentials": ("api key", "credential"),
    "connection": ("connection", "endpoint", "host"),
}
PRIVACY_TELLS: Final = ("collect", "store", "log", "send", "personal data")
CHINESE: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
FENCED: Final = re.compile(r"```.*?```", re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, as ``make package`` writes it."""
    target = tmp_path_factory.mktemp("package") / "mem0ai.difypkg"
    write_package(packed_files(ROOT), target)
    return target


@pytest.fixture(scope="module")
def unpacked(package: Path) -> Path:
    """Its files, in an empty folder."""
    folder = package.parent / "unpacked"
    with zipfile.ZipFile(package) as opened:
        opened.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def names(package: Path) -> list[str]:
    with zipfile.ZipFile(package) as opened:
        return opened.namelist()


@pytest.fixture(scope="module")
def manifest(unpacked: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((unpacked / "manifest.yaml").read_text(encoding="utf-8"))
    return content


def test_paths_are_safe_to_unpack(names: list[str]) -> None:
    assert [one for one in names if one.startswith("/") or ".." in PurePosixPath(one).parts or "\\" in one] == []


def test_size_and_number_of_files_are_within_the_limits(package: Path) -> None:
    with zipfile.ZipFile(package) as opened:
        assert sum(entry.file_size for entry in opened.infolist()) <= MAX_UNPACKED_BYTES
        assert len(opened.infolist()) <= MAX_FILES
    assert package.stat().st_size <= MAX_UNPACKED_BYTES


def test_nothing_of_development_and_no_archive_is_packed(names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name)
        assert not UNWANTED_PARTS & set(path.parts), name
        assert path.suffix.lower() not in UNWANTED_SUFFIXES, name
        assert not path.name.startswith((".env", "test_")), name


def test_no_program_is_packed_whatever_its_name(unpacked: Path, names: list[str]) -> None:
    assert [name for name in names if (unpacked / name).read_bytes().startswith(PROGRAMS)] == []
    assert [name for name in names if os.access(unpacked / name, os.X_OK)] == []


def test_no_key_or_token_is_packed(unpacked: Path, names: list[str]) -> None:
    assert [name for name in names if SECRETS.search((unpacked / name).read_bytes())] == []


def test_every_python_file_compiles(unpacked: Path, names: list[str]) -> None:
    for name in names:
        if name.endswith(".py"):
            compile((unpacked / name).read_bytes(), name, "exec")


def test_the_manifest_has_every_field_but_the_publishers_own(manifest: dict[str, Any]) -> None:
    assert {field for field in REQUIRED if not _field(manifest, field)} <= PUBLISHERS_OWN
    assert SOURCE.fullmatch(manifest.get("repo", "https://github.com/the/publishers"))
    assert E_MAIL.fullmatch(manifest.get("contact", "the@publishers.example"))


def test_what_only_the_publisher_can_fill_in_is_told_where_releases_are_described() -> None:
    releasing = (PROJECT_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Releasing")[2]
    assert all(f"`{field}`" in releasing for field in PUBLISHERS_OWN)


def test_names_are_of_the_accepted_form(manifest: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{1,64}", manifest["author"])
    assert "dify" not in manifest["author"] and "langgenius" not in manifest["author"]
    assert re.fullmatch(r"[a-z0-9_-]{1,128}", manifest["name"])
    assert re.fullmatch(r"\d{1,4}(\.\d{1,4}){2}", manifest["version"])
    assert manifest["type"] == "plugin"


@pytest.mark.parametrize("key", ["icon", "icon_dark"])
def test_icons_are_there_and_not_the_templates(unpacked: Path, manifest: dict[str, Any], key: str) -> None:
    icon = (unpacked / "_assets" / manifest[key]).read_text(encoding="utf-8")
    assert icon.startswith("<svg")
    assert "DIFY_MARKETPLACE_TEMPLATE_ICON_DO_NOT_USE" not in icon
    assert 'd="M20 20 V80 M20 20 H60 Q80 20 80 40 T60 60 H20"' not in icon


def test_the_privacy_policy_is_there_and_says_something(unpacked: Path, manifest: dict[str, Any]) -> None:
    policy = (unpacked / manifest["privacy"]).read_text(encoding="utf-8").lower()
    assert manifest["privacy"] == "PRIVACY.md"
    assert "please fill in the privacy policy" not in policy
    assert [word for word in PRIVACY_TELLS if word not in policy] == []


def test_the_readme_is_english_and_tells_what_it_must(unpacked: Path) -> None:
    readme = (unpacked / "README.md").read_text(encoding="utf-8")
    assert CHINESE.findall(FENCED.sub("", readme)) == []
    assert SOURCE.search(readme)
    for told, words in README_TELLS.items():
        assert any(word in readme.lower() for word in words), told
    assert [one.name for one in unpacked.glob("README*")] == ["README.md"]  # translations lie in readme/


def test_requirements_are_bounded_on_both_sides_and_come_from_the_index(unpacked: Path) -> None:
    for requirement in _requirements(unpacked):
        assert requirement.url is None, requirement
        assert {one.operator for one in requirement.specifier} & {"<", "==", "~="}, requirement
    sdk = next(one for one in _requirements(unpacked) if one.name in ("dify_plugin", "dify-plugin"))
    assert not sdk.specifier.contains("0.8.99") and sdk.specifier.contains("0.10.2")  # since 0.9


def test_no_request_is_made_without_a_timeout(unpacked: Path) -> None:
    """The reviewers look for ``requests`` without ``timeout``; the plugin does not use that library at all."""
    for source in unpacked.rglob("*.py"):
        imported = [node for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if _imports_requests(node)]
        assert imported == [], source


def test_the_unpacked_package_starts_and_answers_over_http(unpacked: Path, tmp_path: Path) -> None:
    """As the marketplace starts it: ``INSTALL_METHOD=serverless``, and any answer on its port will do."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {"INSTALL_METHOD": "serverless", "SERVERLESS_HOST": "127.0.0.1", "SERVERLESS_PORT": str(port)}
    env |= {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "main"]
    process = subprocess.Popen(command, cwd=unpacked, env=env, stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        assert process.stdout is not None
        assert any("Running on" in line for line in process.stdout)  # the last line before it answers
        with pytest.raises(urllib.error.HTTPError) as answered:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/")
        assert answered.value.code == HTTPStatus.NOT_FOUND  # what the marketplace's own check takes for an answer
    finally:
        process.kill()
        process.communicate()


def _field(manifest: dict[str, Any], path: str) -> Any:
    found: Any = manifest
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _requirements(folder: Path) -> Iterator[Requirement]:
    for line in (folder / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if bare := line.partition("#")[0].strip():
            yield Requirement(bare)


def _imports_requests(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return any(name.name.partition(".")[0] == "requests" for name in names)
        case ast.ImportFrom(module=module):
            return (module or "").partition(".")[0] == "requests"
    return False
