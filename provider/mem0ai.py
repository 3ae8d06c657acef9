"""The provider: are these credentials usable?

First statically, then by one bounded round trip that changes no memory; the answer names the part that failed. Dify
shows the exception's text beside the form.
"""

from collections.abc import Mapping
from typing import Any

from dify_plugin import ToolProvider
from dify_plugin.errors.tool import ToolProviderCredentialValidationError

from utils import messages
from utils.errors import PluginError
from utils.runtime.runtime import runtime

_VALIDATION_TIMEOUT_S = 15.0  # SPEC 2: all parts together


class Mem0Provider(ToolProvider):
    """Validates the five blocks and the options beside them."""

    def _validate_credentials(self, credentials: Mapping[str, Any]) -> None:
        """Raise ``ToolProviderCredentialValidationError`` with one sentence that says what is wrong."""
        try:
            runtime().call(credentials, lambda memory: memory.check(), timeout_s=_VALIDATION_TIMEOUT_S)
        except PluginError as exc:
            language = str(credentials.get("language") or messages.DEFAULT_LANGUAGE)
            raise ToolProviderCredentialValidationError(exc.sentence(language)) from exc
