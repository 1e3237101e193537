"""
POST /v1/responses, basic: text, thinking, function calls, streamed or not
(docs/facts/lmstudio.md#responses).
"""

import random
import time
from typing import Any

from conformance.standin.dialogue import EFFORTS, check_patterns, measure_image
from conformance.standin.host import Host, Piece, Run, new_id
from conformance.standin.plan import Ask, Call, Tool, Turn
from conformance.standin.wire import Reply, Request, number, refusal

TOOL_TYPES = ("function", "mcp")
"""It refuses a request for one tool of another type (docs/facts/lmstudio.md#refused-content)."""


async def answer_responses(host: Host, request: Request, reply: Reply) -> None:
    """Answer a request; a later one may go on from it by its id."""
    ask = read_ask(host, request)
    instance = await host.find(request)
    async with host.run(request, instance, ask) as run:
        response = Response(request, run)
        if request.body.get("store") is not False:
            # Before it is told: whoever has the answer may go on from it at once.
            said = Turn("assistant", "".join(run.plan.content))
            host.stored[run.response_id] = [*ask.turns, said]
        if request.wants_stream:
            await response.stream(reply)
        else:
            async for _ in run.speak():
                pass
            await reply.json(response.whole(finished=True))


def read_ask(host: Host, request: Request) -> Ask:
    """Read the question. Raises `Refused`."""
    body = request.body
    if body.get("input") is None:
        raise refusal(request, "Required", param="input", code="missing_required_parameter")
    text = body.get("text")
    shape = text.get("format") if isinstance(text, dict) else None
    if isinstance(text, dict) and not isinstance(shape, dict):
        raise refusal(request, "Required", param="text.format", code="missing_required_parameter")
    schema = (
        shape.get("schema")
        if isinstance(shape, dict) and shape.get("type") == "json_schema"
        else None
    )
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    if effort is not None and effort not in EFFORTS:
        raise refusal(request, "Invalid enum value", param="reasoning.effort", code="invalid_value")
    limit = number(body, "max_output_tokens")
    tools = body.get("tools") or []
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict) or tool.get("type") not in TOOL_TYPES:
            param = f"tools.{place}.type"
            raise refusal(request, "Invalid", param=param, code="invalid_string")
    check_patterns(request)
    choice = body.get("tool_choice")
    return Ask(
        turns=tuple(read_turns(host, request)),
        tools=tuple(
            Tool(tool["name"], tool.get("parameters") or {"type": "object"})
            for tool in tools
            if isinstance(tool, dict) and tool.get("type") == "function" and "name" in tool
        ),
        choice=choice if choice in ("none", "required") else "auto",
        schema=schema,
        effort=effort,
        max_tokens=None if limit is None or limit < 0 else int(limit),
    )


def read_turns(host: Host, request: Request) -> list[Turn]:
    """Read instructions, what was stored, and the input."""
    body = request.body
    turns: list[Turn] = []
    previous = body.get("previous_response_id")
    if isinstance(previous, str):
        if previous not in host.stored:
            message = (
                f"Prediction history node with id '{previous.removeprefix('resp_')}' not found."
            )
            code = "previous_response_not_found"
            raise refusal(request, message, param="previous_response_id", code=code)
        turns += host.stored[previous]
    if isinstance(body.get("instructions"), str):
        turns.insert(0, Turn("system", body["instructions"]))
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    for item in items if isinstance(items, list) else []:
        turns.append(read_item(request, item if isinstance(item, dict) else {}))
    return turns


def read_item(request: Request, item: dict[str, Any]) -> Turn:
    """Read one item of the input."""
    call_id = str(item.get("call_id", ""))
    match item.get("type", "message"):
        case "function_call":
            call = Call(call_id, str(item.get("name")), str(item.get("arguments", "{}")))
            return Turn("assistant", calls=(call,))
        case "function_call_output":
            return Turn("tool", str(item.get("output", "")), call_id=call_id)
    content = item.get("content")
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content or []
    texts = [part.get("text", "") for part in parts if str(part.get("type", "")).endswith("_text")]
    images = tuple(
        measure_image(request, part.get("image_url"))
        for part in parts
        if part.get("type") == "input_image"
    )
    role = {"developer": "system"}.get(str(item.get("role")), str(item.get("role", "user")))
    return Turn(role, "\n".join(texts), images)


class Response:
    """One answer in the shape of this route, with its item ids."""

    def __init__(self, request: Request, run: Run) -> None:
        self.request = request
        self.run = run
        self.sequence = 0
        plan = run.plan
        self.items: list[dict[str, Any]] = []
        if plan.reasoning:
            part = {"type": "reasoning_text", "text": "".join(plan.reasoning)}
            self.items.append(
                {
                    "id": new_id("rs_"),
                    "type": "reasoning",
                    "status": "completed",
                    "summary": [],
                    "content": [part],
                }
            )
        if plan.content:
            text = {
                "type": "output_text",
                "text": "".join(plan.content),
                "annotations": [],
                "logprobs": [],
            }
            self.items.append(
                {
                    "id": new_id("msg_"),
                    "type": "message",
                    "role": "assistant",
                    "status": "completed",
                    "content": [text],
                }
            )
        for call in plan.calls:
            self.items.append(
                {
                    "id": new_id("fc_"),
                    "call_id": f"call_{call.id}{random.randint(1000000, 9999999)}",
                    "type": "function_call",
                    "name": call.name,
                    "arguments": call.arguments,
                    "status": "completed",
                }
            )

    def whole(self, finished: bool) -> dict[str, Any]:
        """Return the response object, at its end or at its beginning."""
        body, plan = self.request.body, self.run.plan
        cut = plan.finish == "length"
        tokens = plan.completion_tokens
        usage = {
            "input_tokens": plan.prompt_tokens,
            "output_tokens": tokens,
            "total_tokens": plan.prompt_tokens + tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": len(plan.reasoning)},
        }
        reasoning = body.get("reasoning")
        effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
        status = "incomplete" if cut else "completed"
        return {
            "id": self.run.response_id,
            "object": "response",
            "created_at": self.run.created,
            "completed_at": int(time.time()) if finished else None,
            "status": status if finished else "in_progress",
            "incomplete_details": {"reason": "max_output_tokens"} if finished and cut else None,
            "model": self.run.name,
            "previous_response_id": body.get("previous_response_id"),
            "instructions": body.get("instructions"),
            "output": self.items if finished else [],
            "error": None,
            "tools": body.get("tools") or [],
            "tool_choice": body.get("tool_choice") or "auto",
            "truncation": "auto",
            "parallel_tool_calls": True,
            "text": body.get("text") or {"format": {"type": "text"}},
            "top_p": body.get("top_p", 0.95),
            "presence_penalty": 0,
            "frequency_penalty": 1.1,
            "top_logprobs": 0,
            "temperature": body.get("temperature", 0.8),
            "reasoning": {"summary": None, "effort": effort},
            "usage": usage if finished else None,
            "max_output_tokens": body.get("max_output_tokens"),
            "max_tool_calls": None,
            "store": body.get("store", True),
            "background": False,
            "service_tier": "default",
            "metadata": {},
            "safety_identifier": None,
            "prompt_cache_key": None,
        }

    async def emit(self, reply: Reply, kind: str, **fields: Any) -> None:
        """Send one event; they are numbered from 0."""
        await reply.event({"type": kind, **fields, "sequence_number": self.sequence}, kind)
        self.sequence += 1

    async def stream(self, reply: Reply) -> None:
        """
        Send the events of the answer in LM Studio's order
        (docs/facts/lmstudio.md#responses-stream).
        """
        opened = -1
        async for piece in self.run.speak():
            if self.sequence == 0:
                await self.begin(reply)
            place = self.place_of(piece)
            if place != opened:
                await self.close_item(reply, opened)
                await self.open_item(reply, place)
                opened = place
            if piece.kind == "content":
                await self.emit_part(
                    reply, place, "output_text.delta", delta=piece.text, logprobs=[]
                )
            elif piece.kind == "reasoning":
                await self.emit_part(reply, place, "reasoning_text.delta", delta=piece.text)
        if self.sequence == 0:
            await self.begin(reply)
        await self.close_item(reply, opened)
        last = self.whole(finished=True)
        await self.emit(reply, f"response.{last['status']}", response=last)
        await reply.finish()

    async def begin(self, reply: Reply) -> None:
        """Send the two events that every answer begins with."""
        for kind in ("response.created", "response.in_progress"):
            await self.emit(reply, kind, response=self.whole(finished=False))

    def place_of(self, piece: Piece) -> int:
        """Return the index of the item that a piece belongs to."""
        if piece.kind == "reasoning":
            return 0
        before = 1 if self.run.plan.reasoning else 0
        return before + piece.index

    async def emit_part(self, reply: Reply, place: int, kind: str, **fields: Any) -> None:
        """Send an event about the one content part of an item."""
        item_id = self.items[place]["id"]
        at = {"item_id": item_id, "output_index": place, "content_index": 0}
        await self.emit(reply, f"response.{kind}", **at, **fields)

    async def open_item(self, reply: Reply, place: int) -> None:
        """Announce an item and, unless it is a call, its content part."""
        item = self.items[place]
        shown = {**item, "status": "in_progress"}
        if item["type"] == "function_call":
            shown["arguments"] = ""
        else:
            shown["content"] = []
        await self.emit(reply, "response.output_item.added", output_index=place, item=shown)
        if item["type"] != "function_call":
            part = {**item["content"][0], "text": ""}
            await self.emit_part(reply, place, "content_part.added", part=part)

    async def close_item(self, reply: Reply, place: int) -> None:
        """Tell an item whole. The arguments of a call come here at once, without deltas."""
        if place < 0:
            return
        item = self.items[place]
        if item["type"] == "function_call":
            done = "response.function_call_arguments.done"
            at = {"item_id": item["id"], "output_index": place}
            await self.emit(reply, done, **at, arguments=item["arguments"])
        else:
            part = item["content"][0]
            extra: dict[str, Any] = {"logprobs": []} if item["type"] == "message" else {}
            await self.emit_part(reply, place, f"{part['type']}.done", text=part["text"], **extra)
            await self.emit_part(reply, place, "content_part.done", part=part)
        await self.emit(reply, "response.output_item.done", output_index=place, item=item)
