"""The provider: are these credentials usable?

Dify's console shows only the sentence of a ``CredentialsValidateFailedError`` beside the form; for any other class it
shows the whole traceback (run on 1.14.2).
"""

from collections.abc import Mapping
from typing import Any

from dify_plugin import ToolProvider
from dify_plugin.errors.model import CredentialsValidateFailedError

from utils import messages
from utils.errors import PluginError
from utils.runtime.runtime import runtime


class Mem0Provider(ToolProvider):
    """Validates the five blocks and the options beside them."""

    def _validate_credentials(self, credentials: Mapping[str, Any]) -> None:
        """Raise ``CredentialsValidateFailedError`` with one sentence that says what is wrong, and what to do."""
        try:
            runtime().validate(credentials)
        except PluginError as exc:
            language = str(credentials.get("language") or messages.DEFAULT_LANGUAGE)
            # `from None`: the SDK sends the traceback of every chained exception to Dify, too
            raise CredentialsValidateFailedError(exc.sentence(language)) from None
