"""
POST /api/v1/chat, basic: LM Studio's own chat with its named events
(docs/facts/lmstudio.md#native-chat, docs/facts/lmstudio.md#native-stream).
"""

from typing import Any

from conformance.standin.dialogue import measure_image
from conformance.standin.host import Host, Run
from conformance.standin.loading import read_known, read_required
from conformance.standin.plan import Ask, Turn
from conformance.standin.table import Instance
from conformance.standin.wire import Reply, Request, number, refusal

KEYS = (
    "model", "input", "system_prompt", "integrations", "stream", "temperature", "top_p", "top_k",
    "min_p", "repeat_penalty", "max_output_tokens", "reasoning", "context_length", "store",
    "previous_response_id",
)  # fmt: skip


async def answer_native(host: Host, request: Request, reply: Reply) -> None:
    """Answer a request. Streamed, a load shows its progress instead of silence."""
    body = read_known(request, KEYS)
    read_required(request, body, "model", '"model" is required')
    if body.get("input") is None:
        message = '"input" is required'
        raise refusal(request, message, param="input", code="missing_required_parameter")
    turns = read_turns(host, request)
    instance, seconds = await find(host, request, reply)
    ask = Ask(
        turns=tuple(turns),
        effort=read_effort(request, instance),
        max_tokens=None
        if body.get("max_output_tokens") is None
        else int(number(body, "max_output_tokens") or 0),
    )
    async with host.run(request, instance, ask) as run:
        if body.get("store") is not False:
            # Before it is told: whoever has the answer may go on from it at once.
            host.stored[run.response_id] = [*turns, Turn("assistant", "".join(run.plan.content))]
        if request.wants_stream:
            await stream(request, reply, run, seconds)
        else:
            async for _ in run.speak():
                pass
            await reply.json(result_of(request, run, seconds))


async def find(host: Host, request: Request, reply: Reply) -> tuple[Instance, float | None]:
    """Return the instance, and the seconds of its load when the request loaded it."""
    found = host.table.find_model(request.model)
    cold = found is not None and not host.table.instances_of(found[0])
    if not cold or found is None:
        return await host.find(request), None
    if not request.wants_stream:
        instance = await host.find(request)
        return instance, host.options.load_ms / 1000
    name = found[0].key
    await emit(reply, "chat.start", model_instance_id=name)
    await emit(reply, "model_load.start", model_instance_id=name)
    await emit(reply, "model_load.progress", model_instance_id=name, progress=0.5)
    instance = await host.find(request)
    await emit(reply, "model_load.progress", model_instance_id=name, progress=1)
    seconds = host.options.load_ms / 1000
    await emit(reply, "model_load.end", model_instance_id=name, load_time_seconds=seconds)
    return instance, seconds


async def emit(reply: Reply, kind: str, **fields: Any) -> None:
    """Send one named event."""
    await reply.event({"type": kind, **fields}, kind)


def read_turns(host: Host, request: Request) -> list[Turn]:
    """Read what was stored, the system prompt and the input."""
    body = request.body
    previous = body.get("previous_response_id")
    turns: list[Turn] = []
    if isinstance(previous, str):
        if previous not in host.stored:
            message = f"Could not find stored response for previous_response_id '{previous}'."
            raise refusal(request, message, param="previous_response_id", code="invalid_value")
        turns += host.stored[previous]
    if isinstance(body.get("system_prompt"), str):
        turns.insert(0, Turn("system", body["system_prompt"]))
    given = body["input"]
    items = [{"type": "text", "content": given}] if isinstance(given, str) else given
    texts, images = [], []
    for item in items if isinstance(items, list) else [{}]:
        item = item if isinstance(item, dict) else {}
        kind = item.get("type")
        if kind == "text" and isinstance(item.get("content"), str):
            texts.append(item["content"])
        elif kind == "image":
            images.append(measure_image(request, item.get("data_url")))
        else:
            raise refusal(request, "Invalid input", param="input", code="invalid_union")
    return [*turns, Turn("user", "\n".join(texts), tuple(images))]


def read_effort(request: Request, instance: Instance) -> str | None:
    """Read `reasoning`; a setting that the model does not offer is refused."""
    wanted = request.body.get("reasoning")
    if wanted is None:
        return None
    reasoning = instance.model.reasoning
    offered = reasoning.options if reasoning is not None else ("off",)
    if wanted not in offered:
        known = ", ".join(f"'{one}'" for one in offered)
        message = (
            f"Reasoning setting '{wanted}' is not supported by model '{instance.model.key}'. "
            f"Supported settings: {known}."
        )
        raise refusal(request, message, param="reasoning", code="invalid_value")
    return str(wanted)


def result_of(request: Request, run: Run, seconds: float | None) -> dict[str, Any]:
    """Return the whole answer; it has no finish reason."""
    plan = run.plan
    output = [
        {"type": kind, "content": "".join(pieces)}
        for kind, pieces in (("reasoning", plan.reasoning), ("message", plan.content))
        if pieces
    ]
    stats: dict[str, Any] = {
        "input_tokens": plan.prompt_tokens,
        "total_output_tokens": plan.completion_tokens,
        "reasoning_output_tokens": len(plan.reasoning),
        "tokens_per_second": run.tokens_per_second,
        "time_to_first_token_seconds": run.seconds_to_first,
    }
    if seconds is not None:
        stats["model_load_time_seconds"] = seconds
    answer = {"model_instance_id": run.name, "output": output, "stats": stats}
    if request.body.get("store") is not False:
        answer["response_id"] = run.response_id
    return answer


async def stream(request: Request, reply: Reply, run: Run, seconds: float | None) -> None:
    """Send the events of an answer; there is no last mark."""
    if seconds is None:
        await emit(reply, "chat.start", model_instance_id=run.name)
    await emit(reply, "prompt_processing.start")
    await emit(reply, "prompt_processing.progress", progress=0.5)
    await emit(reply, "prompt_processing.end")
    opened = ""
    async for piece in run.speak():
        kind = "message" if piece.kind == "content" else "reasoning"
        if kind != opened:
            if opened:
                await emit(reply, f"{opened}.end")
            await emit(reply, f"{kind}.start")
            opened = kind
        await emit(reply, f"{kind}.delta", content=piece.text)
    if opened:
        await emit(reply, f"{opened}.end")
    await emit(reply, "chat.end", result=result_of(request, run, seconds))
    await reply.finish()
