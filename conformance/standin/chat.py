"""
Chat and raw completions in OpenAI's dialect: /v1 and /api/v0 (docs/facts/lmstudio.md#chat-answer,
docs/facts/lmstudio.md#completions, docs/facts/lmstudio.md#v0-answers).

Also what differs in LM Studio 0.3 and in other servers of that dialect. Reading the question is
done in `dialogue`, deciding the answer in `plan`.
"""

from typing import Any

from conformance.standin.dialogue import read_ask, read_stops
from conformance.standin.host import Host, Piece, Run, new_id
from conformance.standin.plan import Ask, Call, Turn
from conformance.standin.table import Instance
from conformance.standin.wire import Reply, Request, number, refusal

STOP_REASONS = {
    "stop": "eosFound",
    "length": "maxPredictedTokensReached",
    "tool_calls": "toolCalls",
}


async def answer_chat(host: Host, request: Request, reply: Reply) -> None:
    """Answer POST …/chat/completions."""
    ask = read_ask(request, tolerant=host.is_other)
    instance = await host.find(request)
    async with host.run(request, instance, ask) as run:
        if request.wants_stream:
            await ChatStream(host, request, reply, run, quiet_end=bool(ask.results)).send()
        else:
            await reply.json(await fold_chat(host, request, run))


class ChatStream:
    """The chunks of one streamed chat answer.

    `quiet_end` leaves out the empty piece of text before the end, as after tool results.
    """

    def __init__(
        self, host: Host, request: Request, reply: Reply, run: Run, *, quiet_end: bool
    ) -> None:
        self.host = host
        self.request = request
        self.reply = reply
        self.run = run
        self.quiet_end = quiet_end
        self.id = new_id("chatcmpl-")
        self.first = True
        self.thinking = False

    async def send(self) -> None:
        """Send all chunks and the last mark."""
        if self.host.is_other:
            await self.chunk({"role": "assistant", "content": ""})
            self.first = False
        async for piece in self.run.speak():
            await self.piece(piece)
        if self.thinking and self.host.is_old:
            await self.chunk(self.with_role({"content": "</think>"}))
        text = bool(self.run.plan.content) and not self.run.plan.calls
        if text and not self.quiet_end and not self.host.is_other and not self.host.is_old:
            await self.chunk({"content": ""})
        await self.chunk({}, finish_of(self.host, self.run))
        if self.wants_usage():
            await self.reply.event(
                {**self.envelope(), "choices": [], "usage": usage_of(self.host, self.run)}
            )
        await self.reply.done()

    def wants_usage(self) -> bool:
        """Say whether the stream ends with a chunk of counts; 0.3.14 never sent one."""
        wanted = self.request.body.get("stream_options")
        return (
            isinstance(wanted, dict)
            and wanted.get("include_usage") is True
            and not self.host.is_old
        )

    def envelope(self) -> dict[str, Any]:
        """Return what every chunk begins with."""
        head: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.run.created,
            "model": self.run.name,
        }
        return head if self.host.is_other else {**head, "system_fingerprint": self.run.name}

    async def chunk(
        self, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None
    ) -> None:
        """Send one chunk of one choice."""
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        await self.reply.event({**self.envelope(), "choices": [choice]})

    def with_role(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Put the role in front: on the first chunk, in 0.3 on each of them."""
        if self.first or self.host.is_old:
            self.first = False
            return {"role": "assistant", **delta}
        return delta

    async def piece(self, piece: Piece) -> None:
        """Send one piece of the answer."""
        logprobs = None
        delta: dict[str, Any]
        match piece.kind:
            case "reasoning" if self.host.is_old:
                text = piece.text if self.thinking else f"<think>{piece.text}"
                self.thinking, delta = True, {"content": text}
            case "reasoning":
                delta = {reasoning_field(self.run.instance): piece.text}
            case "content":
                text = piece.text
                if self.thinking:
                    self.thinking, text = False, f"</think>{text}"
                delta = {"content": text}
                logprobs = self.logprobs_of(piece.text)
            case "call":
                delta = {"tool_calls": [self.open_call(piece)]}
            case "arguments":
                delta = {"tool_calls": [self.call_fragment(piece)]}
        await self.chunk(self.with_role(delta), logprobs=logprobs)

    def open_call(self, piece: Piece) -> dict[str, Any]:
        """Return the fragment that begins a tool call."""
        call = piece.call or Call("", "", "")
        function = {"name": call.name, "arguments": ""}
        return {"index": piece.index, "id": call.id, "type": "function", "function": function}

    def call_fragment(self, piece: Piece) -> dict[str, Any]:
        """Return a fragment of arguments; in 0.3 it carried an empty name."""
        function = (
            {"name": "", "arguments": piece.text} if self.host.is_old else {"arguments": piece.text}
        )
        if self.host.is_other:
            return {"index": piece.index, "function": function}
        return {"index": piece.index, "type": "function", "function": function}

    def logprobs_of(self, token: str) -> dict[str, Any] | None:
        """Return log probabilities where they are asked for; LM Studio has none on this route."""
        if not self.host.is_other or self.request.body.get("logprobs") is not True:
            return None
        return {"content": [logprob(self.request, token)]}


def logprob(request: Request, token: str) -> dict[str, Any]:
    """Return the log probability of one token, and of the alternatives asked for."""
    spoken = {"token": token, "logprob": -0.25, "bytes": list(token.encode())}
    count = int(number(request.body, "top_logprobs") or 0)
    others = [
        {"token": f"{token}{n}", "logprob": -1.5 - n, "bytes": list(f"{token}{n}".encode())}
        for n in range(1, count)
    ]
    return {**spoken, "top_logprobs": [dict(spoken), *others] if count else []}


def reasoning_field(instance: Instance) -> str:
    """Return the name under which a model's thinking is sent."""
    reasoning = instance.model.reasoning
    return reasoning.field if reasoning is not None else "reasoning_content"


def finish_of(host: Host, run: Run) -> str:
    """Return the finish reason; LM Studio 0.3.14 said `stop` after tool calls."""
    return "stop" if host.is_old and run.plan.calls else run.plan.finish


def usage_of(host: Host, run: Run) -> dict[str, Any]:
    """Return the counts of an answer. 0.3 counted one less when it was cut, without details."""
    plan = run.plan
    completion = plan.completion_tokens
    if host.is_old and plan.finish == "length":
        completion = max(0, completion - 1)
    counts: dict[str, Any] = {
        "prompt_tokens": plan.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": plan.prompt_tokens + completion,
    }
    if not host.is_old:
        counts["completion_tokens_details"] = {"reasoning_tokens": len(plan.reasoning)}
    return counts


async def fold_chat(host: Host, request: Request, run: Run) -> dict[str, Any]:
    """Speak an answer and return it whole."""
    spoken: dict[str, list[str]] = {"reasoning": [], "content": []}
    async for piece in run.speak():
        if piece.kind in spoken:
            spoken[piece.kind].append(piece.text)
    reasoning, content = "".join(spoken["reasoning"]), "".join(spoken["content"])
    calls = [
        {
            "type": "function",
            "id": call.id,
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in run.plan.calls
    ]
    logprobs = None
    if host.is_other and request.body.get("logprobs") is True:
        logprobs = {"content": [logprob(request, token) for token in spoken["content"]]}
    choice = shape_choice(host, run, reasoning, content, calls, logprobs)
    answer: dict[str, Any] = {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": run.created,
        "model": run.name,
        "choices": [choice],
        "usage": usage_of(host, run),
    }
    return add_stats(host, request, run, answer, fingerprint=True)


def shape_choice(
    host: Host, run: Run, reasoning: str, content: str, calls: list[Any], logprobs: Any
) -> dict[str, Any]:
    """Return the choice of a whole answer in the host's key order and with its keys."""
    finish = finish_of(host, run)
    message: dict[str, Any] = {"role": "assistant"}
    if host.is_old:
        if reasoning:
            content = f"<think>{reasoning}</think>{content}"
        message |= {"tool_calls": calls} if calls else {"content": content}
        return {"index": 0, "logprobs": None, "finish_reason": finish, "message": message}
    message["content"] = content
    if host.is_other:
        message |= {"reasoning_content": reasoning} if reasoning else {}
        message |= {"tool_calls": calls} if calls else {}
    else:
        message[reasoning_field(run.instance)] = reasoning
        message["tool_calls"] = calls
    return {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}


def add_stats(
    host: Host, request: Request, run: Run, answer: dict[str, Any], *, fingerprint: bool
) -> dict[str, Any]:
    """Add what LM Studio adds: figures on /api/v0, an empty object and a fingerprint on /v1."""
    if host.is_other:
        return answer
    if not request.path.startswith("/api/v0/"):
        answer["stats"] = {}
        return {**answer, "system_fingerprint": run.name} if fingerprint else answer
    instance = run.instance
    reason = STOP_REASONS[run.plan.finish]
    if run.plan.stopped_by is not None:
        reason = "stopStringFound"
    answer["stats"] = {
        "tokens_per_second": run.tokens_per_second,
        "time_to_first_token": run.seconds_to_first,
        "generation_time": run.seconds_of_tokens,
        "stop_reason": reason,
    }
    answer["model_info"] = {
        "arch": instance.model.architecture,
        "quant": instance.variant.quantization,
        "format": instance.model.format,
        "context_length": instance.context_length,
    }
    answer["runtime"] = {
        "name": f"stand-in-{instance.model.format}",
        "version": "1.0.0",
        "supported_formats": [instance.model.format],
    }
    return answer


async def answer_completion(host: Host, request: Request, reply: Reply) -> None:
    """Answer POST …/completions: a raw prompt carried on."""
    body = request.body
    prompt = body.get("prompt")
    if isinstance(prompt, list) and all(isinstance(one, str) for one in prompt):
        prompt = "".join(prompt)
    if not isinstance(prompt, str):
        raise refusal(request, "'prompt' field is required", bare=True)
    limit = number(body, "max_tokens")
    ask = Ask(
        turns=(Turn("user", prompt),),
        max_tokens=None if limit is None or limit < 0 else int(limit),
        stops=read_stops(body.get("stop")),
        raw=True,
    )
    instance = await host.find(request)
    async with host.run(request, instance, ask) as run:
        if request.wants_stream:
            await stream_completion(host, request, reply, run)
        else:
            texts = [piece.text async for piece in run.speak() if piece.kind == "content"]
            head = completion_head(run)
            answer = {
                **head,
                "choices": [completion_choice("".join(texts), finish_of(host, run))],
                "usage": usage_of(host, run),
            }
            await reply.json(add_stats(host, request, run, answer, fingerprint=False))


def completion_head(run: Run) -> dict[str, Any]:
    """Return what a completion and its chunks begin with."""
    return {
        "id": new_id("cmpl-"),
        "object": "text_completion",
        "created": run.created,
        "model": run.name,
    }


def completion_choice(text: str, finish: str | None) -> dict[str, Any]:
    """Return the one choice of a completion."""
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}


async def stream_completion(host: Host, request: Request, reply: Reply, run: Run) -> None:
    """Send a completion in chunks. Their shape is OpenAI's; no record of LM Studio's is known."""
    head = completion_head(run)
    async for piece in run.speak():
        if piece.kind == "content":
            await reply.event({**head, "choices": [completion_choice(piece.text, None)]})
    await reply.event({**head, "choices": [completion_choice("", finish_of(host, run))]})
    wanted = request.body.get("stream_options")
    if isinstance(wanted, dict) and wanted.get("include_usage") is True and not host.is_old:
        await reply.event({**head, "choices": [], "usage": usage_of(host, run)})
    await reply.done()
