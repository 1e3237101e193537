"""
Embeddings: /v1 and /api/v0 (docs/facts/lmstudio.md#embeddings, docs/facts/lmstudio.md#v0-answers).
"""

from typing import Any

from conformance.standin import words
from conformance.standin.host import Host
from conformance.standin.wire import Reply, Request, refusal

BAD_INPUT = "'input' field must be a string or an array of strings"


async def answer_embeddings(host: Host, request: Request, reply: Reply) -> None:
    """Answer POST …/embeddings. Counts are zero, and a long text is cut without a word."""
    texts = request.body.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise refusal(request, BAD_INPUT, bare=True)
    instance = await host.find(request, "embedding")
    dimension = instance.model.dimension or host.options.dimension
    async with instance.hold_slot():
        vectors = [
            words.embed(instance.model.key, text, dimension, instance.context_length)
            for text in texts
        ]
    data = [
        {"object": "embedding", "embedding": vector, "index": index}
        for index, vector in enumerate(vectors)
    ]
    count = sum(words.count_tokens(text) for text in texts) if host.is_other else 0
    answer: dict[str, Any] = {
        "object": "list",
        "data": data,
        "model": host.name_of(instance, request),
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }
    await reply.json(answer)
