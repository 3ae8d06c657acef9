"""The HTTP side: OpenAI's wire format."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from playground.http_server import HttpServer, Request, Reset, Response, json_response
from playground.stand_in_model import wire
from playground.stand_in_model.control import Control
from playground.stand_in_model.embeddings import embed as embed_by_letters

_LOOK_AGAIN_S: Final = 0.01  # how often a held request looks whether it may be answered by now
ABOUT: Final = (
    "This is a stand-in for a model endpoint, not a model: it answers by fixed rules and hashed letters (playground/)."
)


class StandInModel(HttpServer):
    """The endpoint, run in a thread of this process: ``with StandInModel() as model: ... model.base_url``.

    Args:
        port: the port on 127.0.0.1; 0 takes a free one.
        embed: makes the vectors; a real model may take the place of the hashed letters.
    """

    def __init__(self, port: int = 0, embed: wire.Embed = embed_by_letters) -> None:
        super().__init__(port)
        self._embed = embed
        self.control = Control()

    async def respond(self, request: Request, reader: asyncio.StreamReader) -> Response:
        """OpenAI's two endpoints, the list of models, and the control."""
        match (request.method, request.path):
            case ("GET", "/" | "/v1"):
                return json_response(200, {"about": ABOUT})
            case ("GET", "/v1/models"):
                return json_response(200, wire.models())
            case ("GET", "/control"):
                return json_response(200, self.control.snapshot())
            case ("POST", "/control"):
                return self._controlled(request)
            case ("POST", "/v1/chat/completions"):
                return await self._model_call("chat", request, reader)
            case ("POST", "/v1/embeddings"):
                return await self._model_call("embeddings", request, reader)
        return json_response(404, wire.error("not_found", f"No such endpoint. {ABOUT}"))

    def _controlled(self, request: Request) -> Response:
        try:
            self.control.apply(json.loads(request.body))
        except (ValueError, TypeError, AttributeError) as error:
            return json_response(400, wire.error("invalid_request_error", str(error)))
        return json_response(200, self.control.snapshot())

    async def _model_call(self, endpoint: str, request: Request, reader: asyncio.StreamReader) -> Response:
        control, settings = self.control, self.control.settings
        control.count(endpoint)
        await asyncio.sleep(settings.chat_latency_s if endpoint == "chat" else settings.embedding_latency_s)
        while self._is_held(endpoint, request):  # noqa: ASYNC110 - set from any thread
            await asyncio.sleep(_LOOK_AGAIN_S)
        if settings.unauthorised or not _may_enter(request, settings.accepted_key):
            control.count("failed_401")
            return json_response(401, wire.error("invalid_api_key", "Incorrect API key provided."))
        failure = control.draw_failure(endpoint)
        if failure is not None:
            control.count(f"failed_{failure}")
            return await self._fail(failure, endpoint, reader)
        try:
            answered = wire.answer(endpoint, json.loads(request.body), control, self._embed)
        except (ValueError, TypeError, KeyError) as error:
            return json_response(400, wire.error("invalid_request_error", f"{type(error).__name__}: {error}"))
        control.count("answered")
        return json_response(200, answered)

    def _is_held(self, endpoint: str, request: Request) -> bool:
        settings = self.control.settings
        named = endpoint == "chat" and any(text.encode() in request.body for text in settings.held_texts)
        return named or endpoint in settings.held_endpoints

    async def _fail(self, kind: str, endpoint: str, reader: asyncio.StreamReader) -> Response:
        match kind:
            case "500":
                return json_response(500, wire.error("server_error", "The server had an error."))
            case "429":
                retry_after = {"Retry-After": f"{self.control.settings.retry_after_s:g}"}
                return json_response(429, wire.error("rate_limit_exceeded", "Rate limit reached."), retry_after)
            case "garbage" if endpoint == "chat":
                return json_response(200, wire.unusable_completion(self.control.counts["failed_garbage"]))
            case "garbage":
                return Response(200, b"<html>Bad gateway</html>", {"Content-Type": "text/html"})
            case "hang":
                await reader.read(1)  # until the client gives up: it sends nothing more on this connection
        raise Reset


def _may_enter(request: Request, accepted_key: str) -> bool:
    return not accepted_key or request.headers.get("authorization") == f"Bearer {accepted_key}"
