"""
LM Studio's own routes, passed through: bytes as they are, but for the model's name.

A JSON body is read whole, its `model` resolved as everywhere else, and nothing else of it touched;
any other body is streamed and never sent twice. Errors of ours come in the caller's envelope.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from functools import partial

import msgspec

from gateway.calls.shared import recovery_for
from gateway.engine.failures import Failures
from gateway.engine.limits import check_depth, check_raw_counts
from gateway.engine.model_check import ModelCheck
from gateway.engine.run import NEAREST, Services
from gateway.faults import ClientGone, Refusal, UpstreamFailure, afresh
from gateway.lifecycle.lifecycle import Lease
from gateway.observability.record import current
from gateway.passthrough.answers import look_at
from gateway.passthrough.json_members import join_members, split_members
from gateway.passthrough.model_defaults import add_made, context_length
from gateway.passthrough.model_list import merged
from gateway.passthrough.repairs import repair
from gateway.passthrough.sending import conclude, refuse
from gateway.runtime.context import RequestContext
from gateway.server.asgi import AsgiClient, Receive, Scope, header, receive_body
from gateway.settings.schema import Settings
from gateway.types import internal
from gateway.upstream.client import Upstream
from gateway.wire.writing import JSON

NAMES_NO_MODEL_HERE = ("/api/v1/models/download",)
"""Routes whose `model` is not one of the catalogue's."""
CHANGE_MODELS = ("/api/v1/models/",)
"""Routes that load and unload by themselves: nothing is made ready for them."""

_OUR_TOKEN_REFUSED = (401, 403)
"""The client's key never gets there, so what LM Studio refuses is the gateway's own."""
_JSON_LIKE = ("json", "text/plain", "x-www-form-urlencoded")
_UNPACKED = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_KNOWN_ENCODINGS = "gzip, deflate or none"


_Body = dict[str, msgspec.Raw]
_decode_body = msgspec.json.Decoder(_Body).decode


class Passthrough:
    """Forwards requests below the mounted prefixes."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        services: Services,
        check: ModelCheck,
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._catalogue = services.catalogue
        self._lifecycle = services.lifecycle
        self._check = check
        self._failures = Failures(settings)

    async def serve(self, scope: Scope, receive: Receive, client: AsgiClient) -> None:
        """Forward one request. `receive` is given up once the body is read."""
        lease = None
        path: str = scope["path"]
        record = current()
        try:
            body: bytes | AsyncIterator[bytes] | None = None
            row = None
            if scope["method"] == "GET":
                listed = await merged(path, self._catalogue, self._upstream)
                if listed is not None:
                    await client.answer(200, JSON, listed)
                    return
            if _has_body(scope) and not _is_json(scope):
                body = _pieces(receive)
            else:
                limit = self._settings.limits.body_bytes
                whole = await receive_body(receive, limit)
                if _has_body(scope):
                    whole = _unpacked(scope, whole, limit)
                    check_depth(whole, self._settings.limits)
                    body, row = await self._resolved(whole, path)
            if path.startswith(CHANGE_MODELS):
                row = None
            if row is not None:
                record.model = row.name
                lease = self._lifecycle.lease(row, num_ctx=context_length(row.made))
                await lease.prepare()
            await self._forward(scope, body, row, lease, client)
        except BaseException as problem:
            context = RequestContext(self._settings, "")
            if row is not None:
                context.asked = internal.AskedName(text=row.name, display=row.name, full=row.name)
            told = partial(refuse, path=path, client=client)
            if not await self._failures.conclude(problem, client, told, context, path):
                raise
        finally:
            if lease is not None:
                lease.release()
            if path.startswith(CHANGE_MODELS):
                self._catalogue.invalidate()

    async def _resolved(self, body: bytes, path: str) -> tuple[bytes, internal.CatalogueRow | None]:
        """Return the body with its model's name as LM Studio knows it, and the model's row."""
        if path.startswith(NAMES_NO_MODEL_HERE):
            return body, None
        fields = _fields_of(body)
        check_raw_counts(body, fields, self._settings.limits)
        try:
            asked = msgspec.json.decode(fields["model"])
        except (msgspec.DecodeError, KeyError, UnicodeDecodeError):
            # Not an object, or no model in it: what to say of that is LM Studio's.
            return body, None
        if not isinstance(asked, str) or not asked.strip():
            return body, None
        row = await self._catalogue.find(asked, trust_loaded=True)
        if row is None:
            near = ", ".join(self._catalogue.nearest(asked))
            raise Refusal(404, f"model '{asked}' not found", ((NEAREST, near),) if near else ())
        try:
            changed = add_made(path, fields, row.made) | repair(path, fields)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # What can't be read can't be mended either.
            changed = False
        if asked != row.request_key:
            fields["model"] = msgspec.Raw(msgspec.json.encode(row.request_key))
            changed = True
        return (join_members(fields) if changed else body), row

    async def _forward(
        self,
        scope: Scope,
        body: bytes | AsyncIterator[bytes] | None,
        row: internal.CatalogueRow | None,
        lease: Lease | None,
        client: AsgiClient,
    ) -> None:
        target: str = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        path: str = scope["path"]
        headers = list(scope["headers"])
        may_repeat = isinstance(body, bytes)
        record = current()
        while True:
            async with self._upstream.forward(scope["method"], target, headers, body) as answer:
                chunks = answer.chunks()
                start = await look_at(answer, chunks, is_inference=row is not None)
                failure = start.failure
                if answer.status in _OUR_TOKEN_REFUSED:
                    if failure is None:
                        raise UpstreamFailure("no reason given", status=answer.status)
                    raise afresh(failure)
                if failure is None and row is not None and start.model:
                    warning = self._check.warning(row, start.model)
                    if warning is not None:
                        value = warning.encode("latin-1", "replace")
                        answer.headers.append((b"x-olgate-warning", value))
                if (
                    failure is None
                    or lease is None
                    or not may_repeat
                    or recovery_for(failure) is None
                ):
                    await conclude(answer, start, answer.each, path, client)
                    return
            if await lease.recover(failure):
                record.retries += 1
            else:
                # Read whole above, or an event stream of which nothing follows its error.
                await conclude(answer, start, None, path, client)
                return


def _fields_of(body: bytes) -> _Body:
    """Return the members of an object, none when the body is none."""
    try:
        return _decode_body(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return split_members(body) or {}


def _unpacked(scope: Scope, body: bytes, limit: int) -> bytes:
    """
    Return a body without its content encoding, whose header goes too: a name in it must be read.

    Raises Refusal: 415 for an encoding that is not read here, 400 for bytes that are none of it,
    413 for what grows beyond the limit.
    """
    encoding = header(scope, b"content-encoding").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _UNPACKED:
        raise Refusal(415, f"content-encoding {encoding} is not read here: send {_KNOWN_ENCODINGS}")
    unpacker = zlib.decompressobj(_UNPACKED[encoding])
    try:
        whole = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise Refusal(400, f"the body is not {encoding}, as content-encoding says") from None
    if len(whole) > limit:
        raise Refusal(413, f"the request body is larger than {limit} bytes")
    if not unpacker.eof:
        raise Refusal(400, f"the body is not whole: its {encoding} has no end")
    scope["headers"] = [item for item in scope["headers"] if item[0] != b"content-encoding"]
    return whole


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
