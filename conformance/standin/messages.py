"""
POST /v1/messages, basic: Anthropic's shapes as LM Studio documents them
(docs/facts/lmstudio.md#messages-route).
"""

from typing import Any

import msgspec

from conformance.standin.dialogue import check_patterns, measure_image
from conformance.standin.host import Host, Piece, Run, new_id
from conformance.standin.plan import Ask, Call, Tool, Turn
from conformance.standin.wire import Refused, Reply, Request, number

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def refuse(message: str) -> Refused:
    """Return an error in the envelope of this route."""
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    return Refused(400, error, 2)


async def answer_messages(host: Host, request: Request, reply: Reply) -> None:
    """Answer a request. Thinking is shown only where the request enables it."""
    ask = read_ask(request)
    instance = await host.find(request)
    async with host.run(request, instance, ask) as run:
        if request.wants_stream:
            await stream(reply, run)
            return
        async for _ in run.speak():
            pass
        await reply.json(
            {**head_of(run), "content": blocks_of(run), **tail_of(run), "usage": usage_of(run)}
        )


def read_ask(request: Request) -> Ask:
    """Read the question. Raises `Refused`."""
    body = request.body
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise refuse("messages: Field required")
    limit = number(body, "max_tokens")
    if limit is None or limit < 1:
        raise refuse("max_tokens: Field required")
    check_patterns(request)
    turns = [turn for message in messages for turn in read_message(request, message)]
    system = body.get("system")
    if system:
        turns.insert(0, Turn("system", join_text(system)))
    thinking = body.get("thinking")
    enabled = isinstance(thinking, dict) and thinking.get("type") == "enabled"
    choice = body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else "auto"
    names = {"any": "required", "none": "none", "tool": str((choice or {}).get("name"))}
    stops = body.get("stop_sequences")
    return Ask(
        turns=tuple(turns),
        tools=tuple(
            Tool(tool["name"], tool.get("input_schema") or {"type": "object"})
            for tool in body.get("tools") or []
            if isinstance(tool, dict) and "name" in tool
        ),
        choice=names.get(str(kind), "auto"),
        effort=None if enabled else "none",
        max_tokens=int(limit),
        stops=tuple(stops) if isinstance(stops, list) else (),
    )


def join_text(content: Any) -> str:
    """Return the text of a string or of text blocks."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))


def read_message(request: Request, message: Any) -> list[Turn]:
    """Read one message; each tool result becomes a turn of its own."""
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
        raise refuse("messages: Input should be a list of messages")
    content = message.get("content")
    if isinstance(content, str):
        return [Turn(message["role"], content)]
    turns: list[Turn] = []
    texts, images, calls = [], [], []
    for block in content if isinstance(content, list) else []:
        match block.get("type"):
            case "text":
                texts.append(str(block.get("text", "")))
            case "image":
                source = block.get("source") or {}
                url = f"data:{source.get('media_type')};base64,{source.get('data')}"
                images.append(measure_image(request, url))
            case "tool_use":
                arguments = msgspec.json.encode(block.get("input") or {}).decode()
                calls.append(Call(str(block.get("id")), str(block.get("name")), arguments))
            case "tool_result":
                result = join_text(block.get("content"))
                turns.append(Turn("tool", result, call_id=str(block.get("tool_use_id"))))
    if texts or images or calls:
        said = Turn(message["role"], "\n".join(texts), tuple(images), tuple(calls))
        turns.insert(0, said)
    return turns


def head_of(run: Run) -> dict[str, Any]:
    """Return what a message begins with."""
    return {"id": new_id("msg_"), "type": "message", "role": "assistant", "model": run.name}


def tail_of(run: Run) -> dict[str, Any]:
    """Return why a message ends."""
    reason = "stop_sequence" if run.plan.stopped_by else REASONS[run.plan.finish]
    return {"stop_reason": reason, "stop_sequence": run.plan.stopped_by}


def usage_of(run: Run) -> dict[str, Any]:
    """Return the counts of a message."""
    return {"input_tokens": run.plan.prompt_tokens, "output_tokens": run.plan.completion_tokens}


def blocks_of(run: Run) -> list[dict[str, Any]]:
    """Return the content blocks of the whole message."""
    plan = run.plan
    blocks: list[dict[str, Any]] = []
    if plan.reasoning:
        blocks.append({"type": "thinking", "thinking": "".join(plan.reasoning), "signature": ""})
    if plan.content:
        blocks.append({"type": "text", "text": "".join(plan.content)})
    for call in plan.calls:
        given = msgspec.json.decode(call.arguments) if call.arguments.endswith("}") else {}
        blocks.append(
            {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": given}
        )
    return blocks


async def stream(reply: Reply, run: Run) -> None:
    """Send the events of a message, block by block."""
    blocks = blocks_of(run)
    begun, opened = False, -1

    async def emit(kind: str, **fields: Any) -> None:
        await reply.event({"type": kind, **fields}, kind)

    async def begin() -> None:
        start = {**head_of(run), "content": [], "stop_reason": None, "stop_sequence": None}
        usage = {"input_tokens": run.plan.prompt_tokens, "output_tokens": 0}
        await emit("message_start", message={**start, "usage": usage})

    async for piece in run.speak():
        if not begun:
            begun = True
            await begin()
        place = place_of(run, piece)
        if place != opened:
            if opened >= 0:
                await emit("content_block_stop", index=opened)
            opened = place
            await emit("content_block_start", index=place, content_block=emptied(blocks[place]))
        delta = delta_of(piece)
        if delta is not None:
            await emit("content_block_delta", index=place, delta=delta)
    if not begun:
        await begin()
    if opened >= 0:
        await emit("content_block_stop", index=opened)
    await emit(
        "message_delta", delta=tail_of(run), usage={"output_tokens": run.plan.completion_tokens}
    )
    await emit("message_stop")
    await reply.finish()


def place_of(run: Run, piece: Piece) -> int:
    """Return the index of the block that a piece belongs to."""
    before = 1 if run.plan.reasoning and piece.kind != "reasoning" else 0
    return before + piece.index


def emptied(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block as it is announced, without what the deltas will bring."""
    match block["type"]:
        case "text":
            return {**block, "text": ""}
        case "thinking":
            return {**block, "thinking": ""}
    return {**block, "input": {}}


def delta_of(piece: Piece) -> dict[str, str] | None:
    """Return the delta for a piece, None for the announcement of a call."""
    match piece.kind:
        case "content":
            return {"type": "text_delta", "text": piece.text}
        case "reasoning":
            return {"type": "thinking_delta", "thinking": piece.text}
        case "arguments":
            return {"type": "input_json_delta", "partial_json": piece.text}
    return None
