"""Keeps the example workflows true: ``make workflows``.

Each file of ``_assets/workflows/`` is an app as Dify exports it, and is edited as one: import it, change it, export it,
put it back. What an export copies out of the plugin (a tool's parameters, outputs and labels, the plugin's version) is
written anew here from the yaml files, and each workflow is drawn beside its file.

An export also names the checksum of the installed package. Dify compares it on import and offers to install what
differs; ``--checksum`` writes the one that ``dify-plugin plugin checksum`` prints for a release.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.workflow_picture import draw

ROOT: Final = Path(__file__).resolve().parent.parent
WORKFLOWS: Final = ROOT / "_assets/workflows"

# What Dify's API says of a parameter, also where the plugin's yaml says nothing.
_UNSAID: Final[dict[str, Any]] = {
    "auto_generate": None,
    "default": None,
    "input_schema": None,
    "max": None,
    "min": None,
    "options": [],
    "placeholder": None,
    "precision": None,
    "scope": None,
    "template": None,
}


def plugin_id() -> str:
    """Author and name, as Dify identifies the plugin."""
    manifest = _yaml(ROOT / "manifest.yaml")
    return f"{manifest['author']}/{manifest['name']}"


def identifier(checksum: str) -> str:
    """The identifier of one package of the plugin's present version."""
    return f"{plugin_id()}:{_yaml(ROOT / 'manifest.yaml')['version']}@{checksum}"


def provider_id() -> str:
    """How a tool node names the plugin's only provider."""
    return f"{plugin_id()}/{_yaml(ROOT / 'provider/mem0ai.yaml')['identity']['name']}"


def refreshed(app: dict[str, Any], checksum: str | None = None) -> dict[str, Any]:
    """An exported app with what it copies out of the plugin as the plugin is now.

    Args:
        app: the export, as loaded; it is changed.
        checksum: of the plugin's package, 64 hexadecimal digits; None keeps what stands there.
    """
    own = plugin_id()
    kept = ""
    for dependency in app["dependencies"]:
        value = dependency["value"]
        if value.get("plugin_unique_identifier", "").startswith(f"{own}:"):
            kept = checksum or value["plugin_unique_identifier"].rpartition("@")[2]
            value["plugin_unique_identifier"] = identifier(kept)
    for node in app["workflow"]["graph"]["nodes"]:
        if node["data"].get("provider_id") == provider_id():
            node["data"] |= tool_copy(node["data"]["tool_name"], identifier(kept))
    return app


def tool_copy(name: str, unique_identifier: str) -> dict[str, Any]:
    """What an exported tool node copies out of the plugin.

    Raises:
        FileNotFoundError: the plugin has no such tool.
    """
    tool = _yaml(ROOT / "tools" / f"{name}.yaml")
    return {
        "output_schema": tool["output_schema"],
        "paramSchemas": [{**_UNSAID, **entry} for entry in tool["parameters"]],
        "params": {entry["name"]: "" for entry in tool["parameters"]},
        "plugin_id": plugin_id(),
        "plugin_unique_identifier": unique_identifier,
        "provider_id": provider_id(),
        "provider_name": provider_id(),
        "tool_description": tool["description"]["human"]["en_US"],
        "tool_label": tool["identity"]["label"]["en_US"],
        "tool_name": name,
    }


def dumped(app: dict[str, Any]) -> str:
    """An app as Dify writes it: keys in the order of the alphabet."""
    # A list that stands in two places is written twice, as in an export, and not as a reference.
    return yaml.dump(app, Dumper=_Plain, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def main(arguments: Sequence[str]) -> None:
    """Write the workflows anew and draw them."""
    parser = argparse.ArgumentParser(prog="python -m scripts.workflows", description="Refresh the example workflows.")
    parser.add_argument("--checksum", help="of the package, as `dify-plugin plugin checksum` prints it")
    checksum: str | None = parser.parse_args(arguments).checksum
    for path in sorted(WORKFLOWS.glob("*.yml")):
        app = refreshed(_yaml(path), checksum)
        path.write_text(dumped(app), encoding="utf-8")
        path.with_suffix(".png").write_bytes(draw(app))
        sys.stdout.write(f"{path.relative_to(ROOT)} and its picture are up to date\n")


if __name__ == "__main__":
    main(sys.argv[1:])
