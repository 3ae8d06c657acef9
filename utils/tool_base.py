"""The one frame around every tool call: parse, run on the loop, map what went wrong, answer.

A tool file declares its parameters and outputs and awaits one operation; everything a call can do wrong ends here, as
an envelope with a sentence. The frame promises: nothing is raised into the workflow; every variable of the tool's
``output_schema`` is sent, on success and on failure; an answer stays within its byte budget and comes within the
time-out plus a second; work left for after the answer begins when its last message is out; what nobody foresaw is
logged with an id that the sentence names, and shown without its text.

Tool files import this module, not the class: the SDK takes every ``Tool`` subclass it finds in a file's namespace for
the tool.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Generator, Mapping
from typing import Any, ClassVar, Final

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from utils import log, messages, params
from utils.aio import congestion
from utils.aio.after_answer import AfterAnswer
from utils.aio.congestion import Congestion
from utils.answer_size import fit
from utils.errors import PluginError
from utils.results import Answer
from utils.runtime.runtime import runtime

_log = logging.getLogger(__name__)

_NOTHING: Final[Mapping[str, Any]] = {}
_UNASKED_TIMEOUT_S: Final = 15.0  # of tools without a parameter for it
MAX_REQUEST_TIMEOUT_S: Final = 60.0  # SPEC 4: no tool but delete_all, forget and extraction waits longer


class MemoryTool(Tool):
    """Base of the tools.

    Attributes:
        parameters: what the tool takes; the yaml file says the same (a test compares them).
        outputs: the variables it sends beside ``status``, ``messages`` and ``results``, with their values on failure.
        empty: ``results`` on failure.
        longest_timeout_s: the most a caller may ask for.
        calls: of its kind that are under way in the process.
        share: of the calls that the process can carry; what can wait better is refused sooner.
        part: whose operation it is: ``memory`` or ``extraction``, as the credentials open them.
    """

    parameters: ClassVar[tuple[params.Parameter, ...]] = ()
    outputs: ClassVar[Mapping[str, Any]] = {}
    empty: ClassVar[Any] = None
    longest_timeout_s: ClassVar[float] = MAX_REQUEST_TIMEOUT_S
    calls: ClassVar[Congestion] = congestion.reads
    share: ClassVar[float] = 1.0
    part: ClassVar[str] = "memory"

    @abstractmethod
    async def run(self, part: Any, given: dict[str, Any]) -> Answer:
        """The tool's one operation, with its parsed parameters; runs on the loop."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        after = AfterAnswer()
        try:
            # The SDK writes each message before it asks for the next, and closes the generator when the caller goes.
            yield from self._answer(tool_parameters, after)
        finally:
            runtime().start_after_answer(after)

    def _answer(self, tool_parameters: dict[str, Any], after: AfterAnswer) -> Generator[ToolInvokeMessage, None, None]:
        level = str(self.runtime.credentials.get("log_level") or "").strip().upper()
        with log.call(level, params.trace_id(tool_parameters)):
            answer, sentence, language = self._outcome(tool_parameters, after)
        yield from self._messages(answer, sentence, language)

    def _outcome(self, tool_parameters: dict[str, Any], after: AfterAnswer) -> tuple[Answer, str, str]:
        """The answer, its sentence and the language of both."""
        started = time.perf_counter()
        language = str(self.runtime.credentials.get("language") or messages.DEFAULT_LANGUAGE)
        try:
            with log.unforeseen(_log, type(self).__name__):
                given = params.parse(self.parameters, tool_parameters)
                answer = fit(self._call(given, after))
                sentence = messages.render(answer.key, language, **answer.params)
        except PluginError as exc:  # nothing may leave the tool but an envelope
            answer, sentence = self._failed(exc.status, exc.key, exc.params), exc.sentence(language)
        elapsed_ms = (time.perf_counter() - started) * 1000
        _log.info("%s %s in %.1f ms", type(self).__name__, answer.status, elapsed_ms)
        return answer, sentence, language

    def _call(self, given: dict[str, Any], after: AfterAnswer) -> Answer:
        credentials = self.runtime.credentials
        synchronous = not runtime().settings(credentials).async_mode
        return runtime().call(
            credentials,
            lambda opened: self.run(getattr(opened, self.part), given),
            timeout_s=None if synchronous else self._timeout_s(given),
            after=after,
            calls=self.calls,
            share=self.share,
        )

    def _timeout_s(self, given: Mapping[str, Any]) -> float:
        return min(float(given.get("timeout", _UNASKED_TIMEOUT_S)), self.longest_timeout_s)

    def _failed(self, status: str, key: str, known: Mapping[str, Any] = _NOTHING) -> Answer:
        """The documented empties; ``write_id`` is kept where the failed write has one."""
        extra = {"write_id": known["write_id"]} if "write_id" in known else {}
        return Answer(self.empty, key, extra=extra, status=status)

    def _messages(self, answer: Answer, sentence: str, language: str) -> Generator[ToolInvokeMessage, None, None]:
        envelope = {"status": answer.status, "messages": sentence, "results": answer.results}
        known = {**answer.extra, "message": sentence}  # the name earlier plugins gave it, where a tool declares it
        variables = {**envelope, **{name: known.get(name, value) for name, value in self.outputs.items()}}
        yield self.create_json_message(variables)
        notes = [messages.render(key, language, **values) for key, values in answer.notes]
        if next_offset := variables.get("next_offset"):
            notes.append(messages.render("result_next_offset", language, next_offset=next_offset))
        lines = [messages.said(line, language) for line in answer.lines]
        yield self.create_text_message("\n".join((sentence, *lines, *notes)))
        for file in answer.files:
            about = {"mime_type": file.mime_type, "filename": file.filename}
            yield self.create_blob_message(blob=file.content, meta=about)
        for name, value in variables.items():
            yield self._variable(name, value)

    def _variable(self, name: str, value: Any) -> ToolInvokeMessage:
        # An Answer node shows a text only when it is sent as a stream, and an empty stream ends it (seen in Dify 1.14).
        if isinstance(value, str) and value:
            return self.create_stream_variable_message(name, value)
        return self.create_variable_message(name, value)
