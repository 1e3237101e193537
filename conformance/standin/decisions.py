"""
POST /v1/systemone and /v1/decisions (docs/facts/lmstudio.md#systemone).

The answers are invented: every candidate is as likely as every other one.
"""

from typing import Any

from conformance.standin import words
from conformance.standin.host import Host
from conformance.standin.wire import Reply, Request, refusal


async def answer_decision(host: Host, request: Request, reply: Reply) -> None:
    """Answer every question. The model must be loaded; pictures are data URLs."""
    body = request.body
    questions = body.get("questions")
    if not isinstance(questions, dict) or not questions:
        raise refusal(request, "Required", param="questions", code="missing_required_parameter")
    if any(not str(image).startswith("data:") for image in body.get("images") or []):
        raise refusal(request, "Invalid image", param="images", code="invalid_value")
    named = [one for one in host.table.loaded("decision") if one.id == request.model]
    if not named:
        message = f'Model "{request.model}" is not loaded.'
        raise refusal(request, message, param="model", code="model_not_found")
    async with named[0].hold_slot():
        answers = {name: decided(question) for name, question in questions.items()}
    count = words.count_tokens(request.raw.decode())
    usage = {"input_tokens": count, "output_tokens": len(answers)}
    await reply.json({"model": named[0].id, "answers": answers, "usage": usage})


def decided(question: Any) -> dict[str, Any]:
    """Return the answer to one question."""
    kind = question.get("type") if isinstance(question, dict) else None
    if kind == "noul":
        return {"type": "noul", "noul": 0.5}
    criteria = list(question.get("criteria") or {})
    names = [str(place) for place in range(len(criteria))] if kind == "score" else criteria
    shares = {name: 1 / len(names) for name in names}
    shared: dict[str, Any] = {"probabilities": shares, "confidence": 0.0}
    if kind == "score":
        legend = dict(zip(names, criteria, strict=True))
        return {"type": "score", "score": (len(names) - 1) / 2, "legend": legend, **shared}
    return {"type": "choice", "choice": names[0], **shared}
