"""The HTTP side of the stand-in: keys, routes and failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from playground.dify_app import pages
from playground.dify_app.control import Control
from playground.dify_app.history import History
from playground.http_server import HttpServer, Request, Reset, Response, json_response

_LOOK_AGAIN_S: Final = 0.01  # how often a held request looks whether it may be answered by now
_NO_SUCH_PATH: Final = (
    "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL was not "
    "found on the server. If you entered the URL manually please check your spelling and try again.</p>\n"
)
_ROUTES: Final[Mapping[str, Callable[[History, Mapping[str, str]], pages.Answer]]] = {
    "/v1/conversations": pages.conversations,
    "/v1/messages": pages.messages,
}


class StandInDify(HttpServer):
    """The app's API, run in a thread of this process: ``with StandInDify(history) as dify: ... dify.base_url``.

    Args:
        history: what it shows; change it at any time.
        port: the port on 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, history: History | None = None, port: int = 0) -> None:
        super().__init__(port)
        self.history = history or History()
        self.control = Control()

    async def respond(self, request: Request, reader: asyncio.StreamReader) -> Response:
        """The two routes that extraction reads; every other path is HTML, as Dify's is."""
        route = _ROUTES.get(request.path) if request.method == "GET" else None
        if route is None:
            self.control.count("failed_404")
            return Response(404, _NO_SUCH_PATH.encode(), {"Content-Type": "text/html; charset=utf-8"})
        self.control.count(request.path.removeprefix("/v1/"))
        await asyncio.sleep(self.control.settings.latency_s)
        while self.control.settings.held:  # noqa: ASYNC110 - set from any thread
            await asyncio.sleep(_LOOK_AGAIN_S)
        refusal = self._refusal(request)
        if refusal is not None:
            self.control.count(f"failed_{refusal['status']}")
            return json_response(refusal["status"], refusal)
        if failure := self.control.draw_failure():
            self.control.count(f"failed_{failure}")
            return self._fail(failure)
        status, body = route(self.history, request.query)
        self.control.answered(request.path, request.query)
        return json_response(status, body)

    def _refusal(self, request: Request) -> dict[str, Any] | None:
        settings = self.control.settings
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            message = "Authorization header must be provided and start with 'Bearer'"
            return pages.error(401, "unauthorized", message)
        if key != settings.accepted_key or request.query.get("user") in settings.refused_users:
            return pages.error(401, "unauthorized", "Access token is invalid")
        if not settings.api_enabled:
            return pages.error(403, "forbidden", "The app's API service has been disabled.")
        if settings.app_mode == "workflow":
            return pages.error(400, "not_chat_app", "Please check if your app mode matches the right API route.")
        return None

    def _fail(self, kind: str) -> Response:
        match kind:
            case "500":
                return json_response(500, pages.error(500, "internal_server_error", "Internal Server Error"))
            case "429":
                retry_after = {"Retry-After": f"{self.control.settings.retry_after_s:g}"}
                return json_response(429, pages.error(429, "too_many_requests", "Too many requests."), retry_after)
            case "garbage":
                cut = json.dumps({"limit": 20, "has_more": True, "data": [{"id": "5015b971"}]})[:-9]
                return Response(200, cut.encode(), {"Content-Type": "application/json"})
        raise Reset
