"""Reads OpenAI's chat messages, tools and options into an `Ask`, with LM Studio's refusals.

What is accepted and refused follows docs/facts/lmstudio.md#chat-fields. Other dialects read their
own.
"""

import base64
import binascii
from typing import Any

from conformance.standin.plan import Ask, Call, Tool, Turn
from conformance.standin.strictness import PATTERN, has_refused_pattern, is_refused_picture
from conformance.standin.wire import Refused, Request, number, refusal

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
BAD_MESSAGES = "Invalid 'messages' in payload."
BAD_IMAGE = "An image must be a data URL with base64 inside."


def read_ask(request: Request, *, tolerant: bool = False) -> Ask:
    """Read the question of a chat request. `tolerant` is for hosts that refuse less.

    Raises `Refused` with the route's words.
    """
    body = request.body
    if request.malformed is not None:
        raise refusal(request, "The body is not valid JSON.", bare=True)
    if body.get("messages") is None:
        raise refusal(request, "'messages' field is required", bare=True)
    schema, choice = read_format(request, tolerant), read_choice(request, tolerant)
    if not tolerant:
        check_patterns(request)
    limit = number(body, "max_tokens")
    if limit is None:
        limit = number(body, "max_completion_tokens")
    return Ask(
        turns=read_turns(request, tolerant),
        tools=read_tools(body.get("tools")),
        choice=choice,
        schema=schema,
        effort=read_effort(request),
        max_tokens=None if limit is None or limit < 0 else int(limit),
        stops=read_stops(body.get("stop")),
    )


def read_turns(request: Request, tolerant: bool) -> tuple[Turn, ...]:
    """Read the messages."""
    messages = request.body["messages"]
    if not isinstance(messages, list) or not messages:
        raise refusal(request, BAD_MESSAGES, bare=True)
    return tuple(read_turn(request, message, tolerant) for message in messages)


def read_turn(request: Request, message: Any, tolerant: bool) -> Turn:
    """Read one message."""
    named = message.get("role", "") if isinstance(message, dict) else None
    role = ROLES.get(named) if isinstance(named, str) else None
    if role is None:
        raise refusal(request, BAD_MESSAGES, bare=True)
    calls = tuple(read_call(request, call) for call in message.get("tool_calls") or ())
    text, images = read_content(request, message.get("content"), bool(calls), tolerant)
    if images and role == "tool" and not tolerant:
        raise refusal(request, BAD_MESSAGES, bare=True)
    call_id = message.get("tool_call_id")
    if call_id == "":
        raise refusal(request, BAD_MESSAGES, bare=True)
    name = message.get("name")
    return Turn(
        role=role,
        text=text,
        images=images,
        calls=calls,
        call_id=call_id if isinstance(call_id, str) else None,
        name=name if isinstance(name, str) and role == "tool" else None,
    )


def read_call(request: Request, call: Any) -> Call:
    """Read a tool call of an earlier turn: an id and arguments as JSON text are needed."""
    function = call.get("function") if isinstance(call, dict) else None
    if isinstance(function, dict):
        call_id, name, arguments = call.get("id"), function.get("name"), function.get("arguments")
        if (
            isinstance(call_id, str)
            and call_id
            and isinstance(name, str)
            and isinstance(arguments, str)
        ):
            return Call(call_id, name, arguments)
    raise refusal(request, BAD_MESSAGES, bare=True)


def read_content(
    request: Request, content: Any, optional: bool, tolerant: bool
) -> tuple[str, tuple[int, ...]]:
    """Read a message's content: text, or parts of text and images."""
    if isinstance(content, str):
        return content, ()
    if content is None and optional:
        return "", ()
    if not isinstance(content, list):
        raise refusal(request, BAD_MESSAGES, bare=True)
    texts, images = [], []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            url = part.get("image_url")
            url = url.get("url") if isinstance(url, dict) else url
            images.append(measure_image(request, url, tolerant=tolerant))
        else:
            raise refusal(request, BAD_MESSAGES, bare=True)
    return "\n".join(texts), tuple(images)


def measure_image(request: Request, url: Any, *, tolerant: bool = False) -> int:
    """Return the size of the image in a data URL. Raises `Refused` for one that is not taken."""
    head, comma, data = url.partition(",") if isinstance(url, str) else ("", "", "")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        try:
            size = len(base64.b64decode(data, validate=True))
            kind = head.removeprefix("data:").removesuffix(";base64")
            if tolerant or not is_refused_picture(kind, data):
                return size
        except binascii.Error:
            pass
    raise refusal(request, BAD_IMAGE, bare=True)


def check_patterns(request: Request) -> None:
    """Refuse tools with a pattern in their schemas that has no anchors. Raises `Refused`."""
    if has_refused_pattern(request.body.get("tools")):
        error = {"code": 400, "message": PATTERN, "type": "invalid_request_error"}
        raise Refused(400, {"error": error}, 4)


def read_tools(tools: Any) -> tuple[Tool, ...]:
    """Read the offered tools; what is no function is skipped."""
    functions = [tool.get("function") for tool in tools or () if isinstance(tool, dict)]
    return tuple(
        Tool(function["name"], function.get("parameters") or {"type": "object"})
        for function in functions
        if isinstance(function, dict) and isinstance(function.get("name"), str)
    )


def read_choice(request: Request, tolerant: bool) -> str:
    """Read `tool_choice`; an object is refused unless the host is another server."""
    choice = request.body.get("tool_choice")
    if choice is None:
        return "auto"
    if isinstance(choice, str) and choice in ("none", "auto", "required"):
        return choice
    if tolerant and isinstance(choice, dict):
        function = choice.get("function")
        return str(function.get("name")) if isinstance(function, dict) else "required"
    kind = "object" if isinstance(choice, dict) else type(choice).__name__
    message = f"Invalid tool_choice type: '{kind}'. Supported string values: none, auto, required"
    raise refusal(request, message, bare=True)


def read_format(request: Request, tolerant: bool) -> Any:
    """Read `response_format`: the schema to fill, or None for text."""
    wanted = request.body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if wanted is None or kind == "text":
        return None
    if kind == "json_object" and tolerant:
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    if kind != "json_schema":
        message = "'response_format.type' must be 'json_schema' or 'text'"
        raise refusal(request, message, bare=True)
    described = wanted.get("json_schema") if isinstance(wanted, dict) else None
    if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
        raise refusal(request, "'response_format.json_schema.schema' is required", bare=True)
    if not isinstance(described.get("name"), str):
        raise refusal(request, "'response_format.json_schema.name' is required", bare=True)
    return described["schema"]


def read_effort(request: Request) -> str | None:
    """Read `reasoning_effort`; any other word than the six is refused."""
    effort = request.body.get("reasoning_effort")
    if effort is None or effort in EFFORTS:
        return effort
    message = (
        f"Invalid 'reasoning_effort' value: '{effort}'. Supported values: {', '.join(EFFORTS)}."
    )
    raise bad_effort(request, message)


def bad_effort(request: Request, message: str) -> Refused:
    """Return the refusal of a thinking level."""
    return refusal(request, message, param="reasoning_effort", code="invalid_value")


def read_stops(stop: Any) -> tuple[str, ...]:
    """Read `stop`: one string or several."""
    if isinstance(stop, str):
        return (stop,)
    return tuple(one for one in stop if isinstance(one, str)) if isinstance(stop, list) else ()
