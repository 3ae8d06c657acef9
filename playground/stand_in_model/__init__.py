"""An offline stand-in for a model endpoint, so that the demo and the tests need no account and no network.

**It is not a model.** It speaks OpenAI's wire format (``/v1/chat/completions``, ``/v1/embeddings``) and answers in the
shape the plugin asks for, by fixed rules: patterns find the statements in what the user wrote, hashed letters make the
vectors. The same question gets the same answer every time, which a test can build on and a person should not.
"""

from playground.stand_in_model.control import FAILURE_KINDS, Control, Settings
from playground.stand_in_model.server import ABOUT, StandInModel
from playground.stand_in_model.wire import CHAT_MODEL, EMBEDDING_MODEL

__all__ = ["ABOUT", "CHAT_MODEL", "EMBEDDING_MODEL", "FAILURE_KINDS", "Control", "Settings", "StandInModel"]
