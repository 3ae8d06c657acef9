"""What one call of a plugin gave back: the messages of its stream, put together."""

from __future__ import annotations

import base64
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self


class PluginDied(Exception):
    """The plugin process is not there (any more)."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file a tool sent, with its meta data (``mime_type``)."""

    data: bytes
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One log event of the plugin."""

    level: str
    message: str
    timestamp: float

    @classmethod
    def read(cls, event: dict[str, Any]) -> Self:
        """From the protocol's ``log`` event."""
        data = event.get("data") or {}
        return cls(str(data.get("level", "")), str(data.get("message", "")), float(data.get("timestamp") or 0.0))


@dataclass(slots=True)
class Invocation:
    """The outcome of one call.

    Attributes:
        envelope: the last JSON message; None when there was none.
        text: all text messages, joined.
        variables: the variable messages by name.
        blobs: files, in order.
        error: the message of an error that left the tool (it never should), ``error_type`` its class.
        size_bytes: of all lines of the answer together.
        elapsed_s: from sending the call to its end.
        first_message_s: from sending the call to the first message.
    """

    tool: str
    envelope: Any = None
    text: str = ""
    variables: dict[str, Any] = field(default_factory=dict)
    blobs: list[Blob] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    error_type: str | None = None
    size_bytes: int = 0
    elapsed_s: float = 0.0
    first_message_s: float | None = None

    @property
    def status(self) -> Any:
        """``status`` of the envelope."""
        return self.envelope["status"]

    @property
    def results(self) -> Any:
        """``results`` of the envelope."""
        return self.envelope["results"]


class Reply:
    """Collects the stream of one call into an :class:`Invocation`; ``future`` is done when the stream has ended."""

    def __init__(self, tool: str) -> None:
        self.future: Future[Invocation] = Future()
        self.future.set_running_or_notify_cancel()  # the call is under way: it cannot be cancelled
        self._invocation = Invocation(tool)
        self._sent_at = time.monotonic()
        self._chunks: dict[str, list[bytes]] = {}

    def take(self, data: dict[str, Any], size: int) -> bool:
        """Take one session message, a line of ``size`` bytes; True when it was the last."""
        self._invocation.size_bytes += size
        match data["type"]:
            case "stream":
                self._take_message(data["data"])
            case "error":
                self._invocation.error = str(data["data"].get("message"))
                self._invocation.error_type = str(data["data"].get("error_type"))
            case "end":
                self._invocation.elapsed_s = time.monotonic() - self._sent_at
                self.future.set_result(self._invocation)
                return True
        return False

    def fail(self, error: Exception) -> None:
        """End the call without its end having come."""
        if not self.future.done():
            self.future.set_exception(error)

    def _take_message(self, message: dict[str, Any]) -> None:
        invocation = self._invocation
        if invocation.first_message_s is None:
            invocation.first_message_s = time.monotonic() - self._sent_at
        invocation.messages.append(message)
        content = message.get("message") or {}
        match message.get("type"):
            case "json":
                invocation.envelope = content["json_object"]
            case "text":
                invocation.text += content["text"]
            case "variable":
                self._take_variable(content)
            case "blob_chunk":
                self._take_chunk(content, message.get("meta") or {})

    def _take_variable(self, content: dict[str, Any]) -> None:
        """A streamed text comes in pieces."""
        variables, name, value = self._invocation.variables, content["variable_name"], content["variable_value"]
        variables[name] = variables.get(name, "") + value if content.get("stream") else value

    def _take_chunk(self, chunk: dict[str, Any], meta: dict[str, Any]) -> None:
        """Chunks of one file come in order; the last is empty and says so."""
        chunks = self._chunks.setdefault(chunk["id"], [])
        chunks.append(base64.b64decode(chunk["blob"]))
        if chunk["end"]:
            data = b"".join(self._chunks.pop(chunk["id"]))
            if len(data) != chunk["total_length"]:
                self._invocation.error = f"a file of {chunk['total_length']} bytes came as {len(data)}"
            self._invocation.blobs.append(Blob(data, meta))
