"""
The closed list of faults and how each is acted out. `conformance/faults/faults.yaml` tells it in
words.

Four ways: `elsewhere` (a server cannot, the gateway's settings can), `instead` (in place of an
answer), `midway` (after some of the ordinary answer), `within` (the answer itself is wrong, which
the routes see to). A fault comes by the model's name, ``fault-ID``, or by a script.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from conformance.standin.wire import Reply, Request, Sprung, encode, refusal, unknown_endpoint

Way = Literal["elsewhere", "instead", "midway", "within"]
Act = Callable[[Request, Reply, bytes | None], Awaitable[None]]

PAGE = b"<!doctype html>\n<html><title>Sign in</title><body>Sign in first.</body></html>\n"
CUT_UPLOAD = re.compile(rb'"model"\s*:\s*"(?:text-embedding-)?fault-write"')
NAME = re.compile(r"(?:text-embedding-)?fault-([a-z0-9_]+)", re.IGNORECASE)
STATED = "The stand-in states this error."


@dataclass(frozen=True)
class Fault:
    """How a fault is acted. `after` is the number of proper events before it, on streams."""

    way: Way
    act: Act | None = None
    after: int = 0
    hint: str = ""


async def send_half(reply: Reply, body: bytes) -> None:
    """Send the head and half of a whole body."""
    await reply.start(200, reply.whole_headers(body))
    await reply.write(body[: len(body) // 2])


async def hang_at_once(request: Request, reply: Reply, body: bytes | None) -> None:
    """Answer nothing."""
    await reply.hang()


async def hang_midway(request: Request, reply: Reply, body: bytes | None) -> None:
    """Fall silent."""
    if body is not None:
        await send_half(reply, body)
    await reply.hang()


async def close_at_once(request: Request, reply: Reply, body: bytes | None) -> None:
    """Close the connection without a byte."""
    await reply.close()


async def close_midway(request: Request, reply: Reply, body: bytes | None) -> None:
    """Close the connection within the answer."""
    if body is not None:
        await send_half(reply, body)
    await reply.close()


async def reset_upload(request: Request, reply: Reply, body: bytes | None) -> None:
    """Reset the connection; a large upload is cut while it is still being written."""
    await reply.close(reset=True)


async def break_http(request: Request, reply: Reply, body: bytes | None) -> None:
    """Answer with what is no HTTP."""
    await reply.raw(b"LM/0.4 hello, this is not HTTP\r\n\r\n{}\r\n")


async def break_json(request: Request, reply: Reply, body: bytes | None) -> None:
    """Send JSON that ends too early, in an event or as the whole body."""
    if body is not None:
        await reply.body(body[: len(body) // 2] or b"{", trapped=False)
        return
    await reply.send_event('{"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{')
    await reply.finish()


async def answer_page(request: Request, reply: Reply, body: bytes | None) -> None:
    """Answer with a web page, as something in between might."""
    await reply.body(PAGE, kind="text/html; charset=utf-8", trapped=False)


async def state_error(request: Request, reply: Reply, body: bytes | None) -> None:
    """State an error although the status is 200."""
    error = {"error": {"message": STATED}, "message": STATED}
    if body is None:
        await reply.send_event(error, "error")
        await reply.finish()
    else:
        await reply.body(encode({"error": {"message": STATED}}, 4), trapped=False)


async def miss_endpoint(request: Request, reply: Reply, body: bytes | None) -> None:
    """Answer as for a path that is not there."""
    await reply.body(encode(unknown_endpoint(request), 0), trapped=False)


async def say_nothing(request: Request, reply: Reply, body: bytes | None) -> None:
    """Answer 200 with nothing in it."""
    if request.wants_stream:
        await reply.finish()
    else:
        await reply.body(b"", trapped=False)


FAULTS: dict[str, Fault] = {
    "connect": Fault("elsewhere", hint="point the gateway at a closed port"),
    "dns": Fault("elsewhere", hint="point the gateway at a host name that ends in .invalid"),
    "tls": Fault("elsewhere", hint="point the gateway at this port with https://"),
    "pool": Fault("elsewhere", hint="allow the gateway one connection and keep that one busy"),
    "write": Fault("instead", reset_upload),
    "first_byte_timeout": Fault("instead", hang_at_once),
    "silence_timeout": Fault("midway", hang_midway, after=2),
    "closed_before_headers": Fault("instead", close_at_once),
    "closed_mid_stream": Fault("midway", close_midway, after=2),
    "bad_http": Fault("instead", break_http),
    "not_json": Fault("midway", break_json),
    "not_sse": Fault("instead", answer_page),
    "upstream_error_200": Fault("midway", state_error),
    "unknown_endpoint": Fault("instead", miss_endpoint),
    "empty": Fault("instead", say_nothing),
    "wrong_model": Fault("within"),
    "bad_tool_arguments": Fault("within"),
    "wrong_server": Fault("elsewhere", hint="point the gateway at a server that is not LM Studio"),
}


def fault_named(model: str) -> str | None:
    """Return the fault that a model's name stands for, or None."""
    match = NAME.fullmatch(model)
    found = match[1].lower() if match else None
    return found if found in FAULTS else None


def cuts_upload(start: bytes) -> bool:
    """Say whether what came of a body so far already asks for the fault ``write``."""
    return CUT_UPLOAD.search(start) is not None


async def begin(request: Request, reply: Reply, after: int | None = None) -> bool:
    """Act the request's fault, or arm the reply for later; return whether the answer is over.

    Raises `Refused` for a fault that a server cannot act out.
    """
    if request.fault is None:
        return False
    fault = FAULTS[request.fault]
    if fault.way == "elsewhere":
        raise refusal(
            request,
            f"The stand-in cannot act out the fault {request.fault!r}: {fault.hint}.",
            code="not_by_the_stand_in",
        )
    if fault.way == "instead" and fault.act is not None:
        await fault.act(request, reply, None)
        return True
    if fault.way == "midway":
        reply.trap = fault.after if after is None else after
    return False


async def spring(request: Request, reply: Reply, sprung: Sprung) -> None:
    """Let the fault of a request take over from the ordinary answer."""
    act = FAULTS[request.fault or ""].act
    if act is not None:
        await act(request, reply, sprung.body)
