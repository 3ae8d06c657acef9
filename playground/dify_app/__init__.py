"""A stand-in for the service API of a Dify app, for the demo and the tests: histories given as data, over HTTP.

It answers as a running Dify 1.14.2 was recorded to (``tests/unit/playground/test_dify_app.py`` holds the recording),
traps included: messages in whole seconds and in any order inside one, pages that hide what shares a second with
``first_id``, running turns that look finished, conversations that jump to the top between two pages.
"""

from playground.dify_app.control import FAILURE_KINDS, Control, Settings
from playground.dify_app.history import Conversation, History, Message
from playground.dify_app.server import StandInDify

__all__ = ["FAILURE_KINDS", "Control", "Conversation", "History", "Message", "Settings", "StandInDify"]
