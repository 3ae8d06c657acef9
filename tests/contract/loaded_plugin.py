"""What the SDK's own loader makes of the project, as JSON on the file named by the first argument.

Run as a script, in a process of its own with the project's root as working directory: the loader reads from there, and
importing ``dify_plugin`` patches the process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from dify_plugin.config.config import DifyPluginEnv
from dify_plugin.core.plugin_registration import PluginRegistration


def describe() -> dict[str, Any]:
    """The provider and, by name, each tool: what its yaml and what its class declare."""
    registration = PluginRegistration(DifyPluginEnv())
    (provider_name, (provider, provider_class, tools)) = next(iter(registration.tools_mapping.items()))
    return {
        "providers": len(registration.tools_mapping),
        "name": provider_name,
        "provider_class": provider_class.__name__,
        "assets": [asset.filename for asset in registration.files],
        "credentials": [entry.model_dump(mode="json") for entry in provider.credentials_schema],
        "tools": {name: _tool(configuration, tool_class) for name, (configuration, tool_class) in tools.items()},
    }


def _tool(configuration: Any, tool_class: Any) -> dict[str, Any]:
    return {
        "parameters": {entry.name: entry.model_dump(mode="json") for entry in configuration.parameters},
        "output_schema": configuration.output_schema,
        "declared": {entry.name: _declared(entry) for entry in tool_class.parameters},
        "outputs": list(tool_class.outputs),
    }


def _declared(parameter: Any) -> dict[str, Any]:
    return {key: getattr(parameter, key) for key in ("kind", "required", "default", "low", "high")}


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    Path(sys.argv[1]).write_text(json.dumps(describe()), encoding="utf-8")
