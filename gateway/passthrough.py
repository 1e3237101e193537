"""
LM Studio's own routes, passed through: bytes as they are, but for the model's name.

A JSON body is read whole, its `model` resolved as everywhere else, and nothing else of it touched;
any other body is streamed and never sent twice. Errors of ours come in the caller's envelope.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from gateway._generated import internal
from gateway._generated.shared import recovery_for, refusal_for
from gateway.call import Call
from gateway.catalog import Catalog
from gateway.client import AsgiClient, ClientGone, Receive, Scope, Send, header, read_body
from gateway.encoding import JSON, encode
from gateway.faults import Refusal, UpstreamFailure, read_error
from gateway.framing import SseDecoder
from gateway.journal import get_logger
from gateway.lifecycle import Lifecycle
from gateway.members import put_together, take_apart
from gateway.relay import INTERNAL
from gateway.repairs import repair
from gateway.settings import Settings
from gateway.upstream import RawAnswer, Upstream

MOUNTS = ("/v1/",)
LMSTUDIO_MOUNTS = ("/api/v0/", "/api/v1/")

NAMES_NO_MODEL_HERE = ("/api/v1/models/download",)
"""Routes whose `model` is not one of the catalogue's."""
CHANGE_MODELS = ("/api/v1/models/",)
"""Routes that load and unload by themselves: nothing is made ready for them."""

_OUR_TOKEN_REFUSED = (401, 403)
"""The client's key never gets there, so what LM Studio refuses is the gateway's own."""
_JSON_LIKE = ("json", "text/plain", "x-www-form-urlencoded")
_ERROR_BYTES = 1024 * 1024
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
}

_Body = dict[str, msgspec.Raw]
_decode_body = msgspec.json.Decoder(_Body).decode


class Passthrough:
    """Forwards requests below the mounted prefixes."""

    def __init__(
        self, settings: Settings, upstream: Upstream, catalog: Catalog, lifecycle: Lifecycle
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._catalog = catalog
        self._lifecycle = lifecycle
        self._log = get_logger()

    async def serve(self, scope: Scope, receive: Receive, send: Send, client: AsgiClient) -> None:
        """Forward one request. `receive` is given up once the body is read."""
        lease = None
        path: str = scope["path"]
        try:
            body: bytes | AsyncIterator[bytes] | None = None
            row = None
            if _has_body(scope) and not _is_json(scope):
                body = _pieces(receive)
            else:
                whole = await read_body(receive, self._settings.limits.body_bytes)
                if _has_body(scope):
                    body, row = await self._resolved(whole, path)
            if path.startswith(CHANGE_MODELS):
                row = None
            if row is not None:
                lease = self._lifecycle.lease(row)
                await lease.prepare()
            await self._forward(scope, body, row, send, client)
        except ClientGone:
            client.leave()
        except Refusal as refusal:
            await _refuse(refusal, path, client, send)
        except UpstreamFailure as failure:
            self._log.warning(
                "upstream failure",
                fault=failure.fault,
                status=failure.status,
                reason=failure.message,
            )
            call = Call(self._settings, "")
            if row is not None:
                call.asked = internal.AskedName(text=row.name, display=row.name, full=row.name)
            told = refusal_for(failure, call)
            await _refuse(told, path, client, send)
        except Exception:
            self._log.exception("a request failed by a fault of ours", path=path)
            await _refuse(Refusal(500, INTERNAL), path, client, send)
        finally:
            if lease is not None:
                lease.release()
            if path.startswith(CHANGE_MODELS):
                self._catalog.invalidate()

    async def _resolved(self, body: bytes, path: str) -> tuple[bytes, internal.CatalogueRow | None]:
        """Return the body with its model's name as LM Studio knows it, and the model's row."""
        if path.startswith(NAMES_NO_MODEL_HERE):
            return body, None
        fields = _fields_of(body)
        try:
            asked = msgspec.json.decode(fields["model"])
        except (msgspec.DecodeError, KeyError, UnicodeDecodeError):
            # Not an object, or no model in it: what to say of that is LM Studio's.
            return body, None
        if not isinstance(asked, str) or not asked.strip():
            return body, None
        row = await self._catalog.find(asked)
        if row is None:
            raise Refusal(404, f"model '{asked}' not found")
        try:
            changed = repair(path, fields)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # What can't be read can't be mended either.
            changed = False
        if asked != row.request_key:
            fields["model"] = msgspec.Raw(msgspec.json.encode(row.request_key))
            changed = True
        return (put_together(fields) if changed else body), row

    async def _forward(
        self,
        scope: Scope,
        body: bytes | AsyncIterator[bytes] | None,
        row: internal.CatalogueRow | None,
        send: Send,
        client: AsgiClient,
    ) -> None:
        target: str = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        headers = list(scope["headers"])
        may_repeat = row is not None and isinstance(body, bytes)
        for attempt in range(2):
            async with self._upstream.forward(scope["method"], target, headers, body) as answer:
                chunks = answer.chunks()
                held, failure = await _peek(answer, chunks)
                if answer.status in _OUR_TOKEN_REFUSED:
                    raise failure or UpstreamFailure("no reason given", status=answer.status)
                if (
                    failure is None
                    or row is None
                    or not may_repeat
                    or attempt
                    or recovery_for(failure) is None
                ):
                    await _send_on(answer, held, chunks, send, client)
                    return
            await self._lifecycle.recover(row)


def _fields_of(body: bytes) -> _Body:
    """Return the members of an object, none when the body is none."""
    try:
        return _decode_body(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return take_apart(body) or {}


async def _peek(
    answer: RawAnswer, chunks: AsyncIterator[bytes]
) -> tuple[list[bytes], UpstreamFailure | None]:
    """Return what was read to see whether the answer is an error, and that error if it is one."""
    held: list[bytes] = []
    if answer.status >= 400:
        size = 0
        async for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size > _ERROR_BYTES:
                break
        return held, _stated(b"".join(held), answer.status)
    if _is_event_stream(answer):
        decoder, size = SseDecoder(), 0
        async for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            events = decoder.feed(chunk)
            if events and (events[0].name == "error" or b'"error"' in events[0].data):
                return held, _stated(events[0].data, 200)
            if events or size > _ERROR_BYTES:
                break
    return held, None


def _is_event_stream(answer: RawAnswer) -> bool:
    return dict(answer.headers).get(b"content-type", b"").startswith(b"text/event-stream")


def _stated(body: bytes, status: int) -> UpstreamFailure | None:
    stated = read_error(body)
    return UpstreamFailure(stated.message, status=status, code=stated.code) if stated else None


async def _send_on(
    answer: RawAnswer,
    held: list[bytes],
    chunks: AsyncIterator[bytes],
    send: Send,
    client: AsgiClient,
) -> None:
    client.is_started = True
    client.is_event_stream = _is_event_stream(answer)
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    for chunk in held:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _refuse(refusal: Refusal, path: str, client: AsgiClient, send: Send) -> None:
    """
    Answer an error of ours.

    An event stream that has begun gets it as its last event. Any other answer that has begun is
    left without its end, so that the server cuts the connection and it can't pass for whole.
    """
    error = encode(envelope(path, refusal.status, refusal.error))
    if not client.is_started:
        await client.answer(refusal.status, JSON, error)
    elif client.is_event_stream:
        await send(
            {"type": "http.response.body", "body": b"data: " + error + b"\n\n", "more_body": False}
        )


def envelope(path: str, status: int, message: str) -> dict[str, Any]:
    """Return an error as the callers of a path know it: Anthropic's, OpenAI's or LM Studio's."""
    kind = _ERROR_TYPES.get(status, "api_error")
    if path.startswith("/v1/messages"):
        return {"type": "error", "error": {"type": kind, "message": message}}
    error = {"message": message, "type": kind, "param": None, "code": None}
    return {"error": error}


def _is_json(scope: Scope) -> bool:
    kind = header(scope, b"content-type").lower()
    return not kind or any(word in kind for word in _JSON_LIKE)


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if piece := message.get("body", b""):
            yield piece
        if not message.get("more_body", False):
            return
