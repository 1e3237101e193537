"""
A process for the tests of the server: `python -m conformance.tests.gateway.server.child
SETTING=VALUE …`.

It serves a tiny application of its own, whose answers the client steers (no clock is involved), in
the way that the command line serves the gateway.
"""

import asyncio
import sys

from gateway.cli.options import exit_quietly_on_signals
from gateway.observability import journal
from gateway.server import process
from gateway.server.asgi import Message, Receive, Scope, Send
from gateway.server.edge import Edge
from gateway.server.routes import RouteTable
from gateway.settings.sources import load

ROUTES = [
    ("HEAD", "/"),
    ("GET", "/"),
    ("GET", "/headers"),
    ("POST", "/echo"),
    ("POST", "/stuck"),
    ("POST", "/last-words"),
    ("POST", "/stubborn"),
    ("GET", "/broken"),
    ("POST", "/items/{name}"),
]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Dispatch by path; `/echo` answers what it is sent, piece by piece, to the end."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    match scope["path"]:
        case "/":
            await begin(send, 200, [(b"content-type", b"text/plain; charset=utf-8")])
            await send({"type": "http.response.body", "body": b"here"})
        case "/echo":
            await begin(send)
            while (message := await receive()).get("more_body"):
                await piece(send, message["body"])
            await send({"type": "http.response.body", "body": message.get("body", b"")})
        case "/stuck":
            print("stuck", file=sys.stderr, flush=True)
            await asyncio.Event().wait()
        case "/last-words":
            await begin(send)
            await piece(send, b"first\n")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await piece(send, b"last\n")
                raise
        case "/stubborn":
            await begin(send)
            await piece(send, b"first\n")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.Event().wait()
        case "/broken":
            raise RuntimeError("broken on purpose")
        case path:
            await begin(send)
            await send({"type": "http.response.body", "body": path.encode()})


async def live(receive: Receive, send: Send) -> None:
    """Start at once; say on standard error that the end was heard of."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("farewell", file=sys.stderr, flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def begin(
    send: Send, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Send a head."""
    await send({"type": "http.response.start", "status": status, "headers": headers or []})


async def piece(send: Send, body: bytes) -> None:
    """Send a part of a body that has more."""
    message: Message = {"type": "http.response.body", "body": body, "more_body": True}
    await send(message)


def main() -> None:
    """Serve with the settings of the command line, each `section.key=value`."""
    exit_quietly_on_signals()
    pairs = (argument.partition("=")[::2] for argument in sys.argv[1:])
    settings = load({"listen.port": "0"} | dict(pairs), {}, None)
    journal.configure(settings.log)
    sys.exit(
        process.run(settings, lambda settings: Edge(app, RouteTable(ROUTES, ["/v1/"]), settings))
    )


if __name__ == "__main__":
    main()
