"""What Dify reads (manifest, provider and tool yaml) is complete, within Dify's rules, and says what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from utils.config.settings import Settings
from utils.mem0.packages import missing_package

ROOT: Final = Path(__file__).resolve().parents[2]
LANGUAGES: Final = ("en_US", "zh_Hans", "ja_JP", "pt_BR")
TOOLS: Final = (
    "add_memory", "search_memory", "get_all_memories", "get_memory",
    "update_memory", "delete_memory", "delete_all_memories", "get_memory_history",
    "extract_long_term_memory", "check_extraction_status", "get_user_checkpoint",
    "forget_memories",
)  # fmt: skip
MAX_TEXT_CHARS: Final = 1023  # the daemon refuses longer ones
PROVIDER_TAGS: Final = {
    "search", "image", "videos", "weather", "finance", "design", "travel", "social", "news", "medical",
    "productivity", "education", "business", "entertainment", "utilities", "rag", "other",
}  # fmt: skip
# The marketplace knows more tags for a plugin than the SDK for a provider, but older daemons do not know "rag".
MANIFEST_TAGS: Final = (PROVIDER_TAGS - {"rag"}) | {"agent", "trigger"}
FORM_TYPES: Final = {"secret-input", "text-input", "select", "boolean"}
YAML_TYPES: Final = {
    "text": "string", "id": "string", "id_list": "string", "trace": "string", "metadata": "string", "filters": "string",
    "boolean": "boolean", "integer": "number", "number": "number", "limit": "number", "timeout": "number",
}  # fmt: skip
STATUSES: Final = ["SUCCESS", "ERROR", "TIMEOUT", "OVERLOAD", "NOT_FOUND"]
MORE_STATUSES: Final = {"extract_long_term_memory": ("ACCEPTED",), "forget_memories": ("ACCEPTED",)}
SENT_ANYWAY: Final = {"text", "files", "json"}  # variables every tool node has; a schema must not claim them


def _yaml(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return content


MANIFEST: Final = _yaml("manifest.yaml")
PROVIDER: Final = _yaml("provider/mem0ai.yaml")
CREDENTIALS: Final = PROVIDER["credentials_for_provider"]


def _translated(node: Any, place: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Every text for people below ``node``: the mappings that have an ``en_US``."""
    if isinstance(node, dict):
        if "en_US" in node:
            yield place, node
        for key, value in node.items():
            yield from _translated(value, f"{place}.{key}")
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from _translated(value, f"{place}[{position}]")


@pytest.mark.parametrize("path", ["manifest.yaml", "provider/mem0ai.yaml", *(f"tools/{name}.yaml" for name in TOOLS)])
def test_every_text_for_people_is_there_in_four_languages_and_not_too_long(path: str) -> None:
    texts = list(_translated(_yaml(path), path))
    assert texts
    for place, text in texts:
        assert tuple(text) == LANGUAGES, place
        for language, words in text.items():
            assert words.strip(), (place, language)
            assert len(words) <= MAX_TEXT_CHARS, (place, language)


def test_manifest_names_the_plugin_and_stays_within_the_rules() -> None:
    assert (MANIFEST["name"], MANIFEST["author"], MANIFEST["type"]) == ("mem0ai", "memoryworks", "plugin")
    assert re.fullmatch(r"\d+\.\d+\.\d+", str(MANIFEST["version"]))
    assert set(MANIFEST["tags"]) <= MANIFEST_TAGS
    assert MANIFEST["plugins"] == {"tools": ["provider/mem0ai.yaml"]}
    meta = MANIFEST["meta"]
    assert meta["arch"] == ["amd64", "arm64"]
    assert meta["runner"] == {"language": "python", "version": "3.12", "entrypoint": "main"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", str(meta["minimum_dify_version"]))


def test_files_that_the_manifest_names_are_there() -> None:
    for text in (
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        MANIFEST["privacy"],
        f"{MANIFEST['meta']['runner']['entrypoint']}.py",
    ):
        assert (ROOT / text).is_file(), text
    for icon in (
        MANIFEST["icon"],
        MANIFEST["icon_dark"],
        PROVIDER["identity"]["icon"],
        PROVIDER["identity"]["icon_dark"],
    ):
        picture = ROOT / "_assets" / icon
        assert picture.read_text(encoding="utf-8").startswith("<svg"), icon
        assert picture.stat().st_size < 10_000, icon


def test_newest_changelog_entry_is_the_manifests_version() -> None:
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == str(MANIFEST["version"])


def test_the_sdk_loads_the_provider_and_all_tools(loaded: dict[str, Any]) -> None:
    assert loaded["providers"] == 1
    assert loaded["name"] == "mem0ai"
    assert tuple(loaded["tools"]) == TOOLS
    assert {MANIFEST["icon"], MANIFEST["icon_dark"]} <= set(loaded["assets"])


def test_provider_names_every_tool_file_there_is() -> None:
    assert PROVIDER["tools"] == [f"tools/{name}.yaml" for name in TOOLS]
    assert sorted(path.stem for path in (ROOT / "tools").glob("*.yaml")) == sorted(TOOLS)
    assert set(PROVIDER["identity"]["tags"]) <= PROVIDER_TAGS


@pytest.mark.parametrize("name", TOOLS)
def test_tool_file_is_called_like_its_tool(name: str) -> None:
    tool = _yaml(f"tools/{name}.yaml")
    assert tool["identity"]["name"] == name
    assert tool["identity"]["author"] == MANIFEST["author"]
    assert tool["extra"] == {"python": {"source": f"tools/{name}.py"}}
    assert tool["description"]["llm"].strip()


@pytest.mark.parametrize("name", TOOLS)
def test_parameters_of_yaml_and_code_are_the_same(name: str, loaded: dict[str, Any]) -> None:
    tool = loaded["tools"][name]
    assert list(tool["parameters"]) == list(tool["declared"])
    for parameter, declared in tool["declared"].items():
        written = tool["parameters"][parameter]
        assert written["type"] == YAML_TYPES[declared["kind"]], parameter
        assert written["required"] == declared["required"], parameter
        # An absent text may become an empty one; Dify's form needs no default for that.
        assert written["default"] == (None if declared["default"] == "" else declared["default"]), parameter
        if declared["kind"] in ("integer", "number", "limit"):
            assert (written["min"], written["max"]) == (declared["low"], declared["high"]), parameter


@pytest.mark.parametrize("name", TOOLS)
def test_every_parameter_is_described_to_the_model(name: str, loaded: dict[str, Any]) -> None:
    for parameter, written in loaded["tools"][name]["parameters"].items():
        assert written["llm_description"].strip(), parameter


@pytest.mark.parametrize("name", TOOLS)
def test_outputs_of_yaml_and_code_are_the_same(name: str, loaded: dict[str, Any]) -> None:
    tool = loaded["tools"][name]
    schema = tool["output_schema"]
    assert schema["type"] == "object"
    assert set(schema["properties"]) == {"status", "messages", "results", *tool["outputs"]}
    assert not SENT_ANYWAY & set(schema["properties"])
    assert [one for one in schema["properties"]["status"]["enum"] if one not in MORE_STATUSES.get(name, ())] == STATUSES
    for output, described in schema["properties"].items():
        # Dify's variable menu reads a plain type; a list of types is shown as nonsense by some of its versions.
        assert described["type"] in {"string", "integer", "number", "boolean", "object", "array"}, output
        assert described["description"].strip(), output


def test_credentials_can_be_filled_in_by_a_person() -> None:
    for name, entry in CREDENTIALS.items():
        assert entry["type"] in FORM_TYPES, name
        # Dify shows the help text only as the caption of a link.
        assert entry["url"].startswith("https://"), name
        assert entry["help"], name
        if entry["type"] in ("text-input", "secret-input"):
            assert entry["placeholder"], name
        if entry["type"] == "text-input":
            assert isinstance(entry.get("default", ""), str), name
        if entry["type"] == "select":
            assert entry["default"] in [option["value"] for option in entry["options"]], name


def test_help_texts_of_the_form_do_not_break_inside_a_word() -> None:
    """Dify breaks longer ones wherever a line ends."""
    long = {
        (name, language): len(words)
        for name, entry in CREDENTIALS.items()
        for language, words in entry["help"].items()
        if len(words) >= 85
    }
    assert long == {}


def test_fields_that_do_nothing_yet_say_so() -> None:
    said = (
        "Not used by this version yet.",
        "当前版本尚未使用。",
        "このバージョンではまだ使われません。",
        "Ainda não usado nesta versão.",
    )
    unused: set[str] = set()
    for name, entry in CREDENTIALS.items():
        for words, sentence in zip(entry["help"].values(), said, strict=True):
            assert words.startswith(sentence) == (name in unused), (name, words)


def test_credentials_that_hold_secrets_are_secret_inputs() -> None:
    secret = {name for name, entry in CREDENTIALS.items() if entry["type"] == "secret-input"}
    assert secret == {name for name in CREDENTIALS if name.endswith("_secret")} | {"state_db_url"}
    assert {name for name, entry in CREDENTIALS.items() if entry["required"]} == {
        "local_llm_json_secret", "local_embedder_json_secret", "local_vector_db_json_secret",
    }  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_placeholders_of_a_form_are_a_working_example_together(language: str) -> None:
    """Typed in as they stand they make a whole, and nothing of it needs a warning."""
    typed = {name: entry["placeholder"][language] for name, entry in CREDENTIALS.items() if "placeholder" in entry}
    typed["memory_ttl_days"] = ""  # the example says in words that there is no maximum
    if missing_package("graph", "neo4j"):  # no version uses it yet
        typed["local_graph_db_json_secret"] = ""
    settings = Settings.from_credentials(typed, exact=True)
    assert settings.warnings == ()
    blocks = (settings.llm, settings.embedder, settings.vector_store, settings.reranker)
    assert [block and block.provider for block in blocks] == ["openai", "openai", "pgvector", "cohere"]
    assert settings.state_db_url == typed["state_db_url"]


def test_the_help_of_a_box_to_paste_into_says_what_to_paste() -> None:
    verbs = {"en_US": "paste", "zh_Hans": "粘贴", "ja_JP": "貼り付け", "pt_BR": "cole"}
    unused = {"local_graph_db_json_secret"}
    boxes = {name: entry for name, entry in CREDENTIALS.items() if entry["type"] == "secret-input"}
    for name, entry in boxes.items():
        for language, words in entry["help"].items():
            assert verbs[language] in words.lower() or name in unused, (name, language)


def test_languages_and_log_levels_of_the_form_are_those_of_the_code() -> None:
    from utils import log, messages

    assert [option["value"] for option in CREDENTIALS["language"]["options"]] == list(messages.LANGUAGES)
    assert {option["value"] for option in CREDENTIALS["log_level"]["options"]} == set(log.LEVELS)
