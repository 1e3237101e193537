"""
The body of a request that is passed on, as it comes from the client: whole if it is JSON, unpacked,
and within the limits; in pieces if it is anything else.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Final

from ..engine.limits import check_depth, check_depth_in_steps
from ..engine.turns import Turns
from ..faults import Refusal
from ..server.asgi import Receive, body_pieces
from ..server.bodies import Bodies, body_too_large
from ..wire.encodings import NotPacked, TooLong, UnknownEncoding, readable, unpacked_pieces
from ..wire.reading import AT_ONCE
from .naming import NAMED_MODEL
from .passing import Passing

_JSON_LIKE: Final = re.compile("json|text/plain|x-www-form-urlencoded")


class Receiving:
    """Reads bodies."""

    def __init__(self, turns: Turns, bodies: Bodies) -> None:
        self._turns = turns
        self._bodies = bodies

    async def receive(self, passing: Passing, receive: Receive) -> None:
        """
        Give a request its body. `receive` is not called after that, except for pieces.

        Raises Refusal for a body that can't be taken, and ClientGone.
        """
        kind = encoding = ""
        # A plain loop: looking for each header by itself would enter a function for each.
        for name, value in passing.scope["headers"]:
            if name in (b"content-length", b"transfer-encoding"):
                passing.has_body = True
            elif name == b"content-type":
                kind = kind or value.decode("latin-1").lower()
            elif name == b"content-encoding":
                encoding = encoding or value.decode("latin-1")
        grant = passing.context.grant
        if passing.has_body and kind and _JSON_LIKE.search(kind) is None:
            if grant is not None and grant.hides_models:
                raise Refusal(415, NAMED_MODEL)
            passing.body = body_pieces(receive)
        else:
            # A body that was not announced is read, too, since the client may have left.
            body = await self._bodies.receive(receive, passing.client)
            if passing.has_body:
                limits = passing.context.settings.limits
                if encoding:
                    body = await self._unpacked(body, passing, encoding, limits.body_bytes)
                if len(body) > AT_ONCE:
                    await self._turns.run(check_depth_in_steps(body, limits))
                else:
                    check_depth(body, limits)
                passing.body = body
        if passing.ticket is not None:
            passing.came = passing.body

    async def _unpacked(self, body: bytes, passing: Passing, encoding: str, limit: int) -> bytes:
        """
        Return a body without its content encoding; that header goes too: a name in it must be read.

        Raises Refusal: 415 for an encoding that is not read here, 400 for bytes not in that
        encoding, 413 for what grows beyond the limit, 503 for what there is no room for.
        """
        whole, since = BytesIO(), 0
        try:
            for piece in unpacked_pieces(body, encoding, limit):
                await self._bodies.take(passing.client, len(piece))
                whole.write(piece)
                since += len(piece) + 1
                if since > AT_ONCE:
                    since = 0
                    await self._turns.pause()
        except UnknownEncoding:
            words = (
                f"content-encoding {encoding} is not read here: send one of {readable()}, or none"
            )
            raise Refusal(415, words) from None
        except NotPacked:
            words = f"the body is not whole, or not {encoding}, as content-encoding says"
            raise Refusal(400, words) from None
        except TooLong:
            raise body_too_large(limit) from None
        scope = passing.scope
        scope["headers"] = [item for item in scope["headers"] if item[0] != b"content-encoding"]
        return whole.getvalue()
