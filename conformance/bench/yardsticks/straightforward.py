"""
The straightforward way: Litestar, plain httpx, lines, `json` and dictionaries.

`python -m conformance.bench.yardsticks.straightforward --upstream URL`
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
from litestar import Litestar, get, post
from litestar.response import Stream

from conformance.bench.yardsticks.serving import serve


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def make(upstream: str) -> Litestar:
    """Return the application."""
    client = httpx.AsyncClient(
        base_url=upstream, timeout=None, limits=httpx.Limits(max_connections=None)
    )

    def chat_body(data: dict[str, Any]) -> dict[str, Any]:
        kept = ("model", "messages", "tools")
        body: dict[str, Any] = {key: data[key] for key in kept if key in data}
        options = data.get("options") or {}
        renamed = {"num_predict": "max_tokens", "temperature": "temperature", "top_p": "top_p"}
        body |= {renamed[key]: value for key, value in options.items() if key in renamed}
        return {**body, "stream": True, "stream_options": {"include_usage": True}}

    async def frames(data: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        started = time.monotonic_ns()
        usage: dict[str, Any] = {}
        finish = "stop"
        model = data["model"]
        async with client.stream("POST", "/v1/chat/completions", json=chat_body(data)) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                chunk = json.loads(line[6:])
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    finish = choice.get("finish_reason") or finish
                    if text := choice["delta"].get("content"):
                        message = {"role": "assistant", "content": text}
                        yield {
                            "model": model,
                            "created_at": _now(),
                            "message": message,
                            "done": False,
                        }
        yield {
            "model": model,
            "created_at": _now(),
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": finish,
            "total_duration": time.monotonic_ns() - started,
            "prompt_eval_count": usage.get("prompt_tokens", 0),
            "eval_count": usage.get("completion_tokens", 0),
        }

    async def lines(data: dict[str, Any]) -> AsyncIterator[str]:
        async for frame in frames(data):
            yield json.dumps(frame) + "\n"

    @post("/api/chat", status_code=200)
    async def chat(data: dict[str, Any]) -> Stream | dict[str, Any]:
        if data.get("stream", True):
            return Stream(lines(data), media_type="application/x-ndjson")
        texts = []
        last: dict[str, Any] = {}
        async for last in frames(data):
            texts.append(last["message"]["content"])
        last["message"]["content"] = "".join(texts)
        return last

    @get("/api/tags")
    async def tags() -> dict[str, Any]:
        answer = await client.get("/api/v1/models")
        models = [
            {
                "name": row["key"],
                "model": row["key"],
                "modified_at": _now(),
                "size": row["size_bytes"],
                "digest": "",
                "details": {"format": row["format"], "parameter_size": row["params_string"]},
            }
            for row in answer.json()["models"]
        ]
        return {"models": models}

    @post("/api/show", status_code=200)
    async def show(data: dict[str, Any]) -> dict[str, Any]:
        answer = await client.get("/api/v1/models")
        row = next(row for row in answer.json()["models"] if row["key"] == data["model"])
        info = {"general.architecture": row.get("architecture")}
        return {"details": {"format": row["format"]}, "model_info": info, "capabilities": []}

    @post("/api/embed", status_code=200)
    async def embed(data: dict[str, Any]) -> dict[str, Any]:
        body = {"model": data["model"], "input": data["input"]}
        answer = await client.post("/v1/embeddings", json=body)
        vectors = [item["embedding"] for item in answer.json()["data"]]
        return {"model": data["model"], "embeddings": vectors}

    return Litestar([chat, tags, show, embed], openapi_config=None, logging_config=None)


if __name__ == "__main__":
    serve("straightforward", make)
