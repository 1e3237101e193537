"""
The form of answers.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .kinds import Seconds


class AnswerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The form of answers, where Ollama's clients have different needs."""

    thinking: Literal["field", "merge", "drop"] = "field"
    """Where thinking goes: into its own `field`, `merge`d into the text, or nowhere (`drop`)."""
    think_tags: Literal["split", "keep"] = "split"
    """
    Whether thinking that arrives as text between tags is `split` from the text, or `keep`
    leaves it there (docs/facts/lmstudio.md#think-tags).
    """
    defaults: Literal["absent", "ollama"] = "absent"
    """
    Sampling options that a request leaves out: `absent` leaves them to LM Studio's settings of
    the model, `ollama` sends Ollama's defaults.
    """
    show_num_ctx: Literal["set", "loaded"] = "set"
    """
    Whether `parameters` of show hold a `num_ctx` only where one was `set`, or also that of the
    `loaded` instance, which Continue reads there (docs/facts/clients.md#parameters-and-template).
    """
    stated_context: Literal["model", "reachable"] = "model"
    """
    Which context length show and tags state: the `model`'s own, or the `reachable` one, which a
    request can really have: that of a loaded instance, or up to `models.context_cap`.
    """
    openai: Literal["lmstudio", "ollama"] = "lmstudio"
    """
    Whether answers below `/v1` are LM Studio's own, or have Ollama's names and forms (`ollama`):
    chat, completions, embeddings, lists of models, and errors
    (docs/facts/ollama.md#v1-chat). `/v1/responses` and `/v1/messages` stay LM Studio's.
    """
    one_shot: Literal["stream", "whole"] = "stream"
    """
    How LM Studio is asked for an answer that the client wants in one piece (`"stream": false` on
    `/api/chat` and `/api/generate`): as a `stream`, or `whole`. `whole` takes less CPU time of the
    gateway and suits many short requests: titles, classification, routing. It is asked of
    `/api/v0`, which states LM Studio's own times; a host without these routes is asked for a
    stream. `upstream.first_byte_timeout_s` then limits the whole answer, and
    `upstream.silence_timeout_s` means nothing: a host that hangs is noticed that late. Metrics lack
    the time of the first token
    (docs/decisions/0039-a-one-shot-answer-is-asked-for-as-a-stream.md).
    """
    version: Annotated[str, Meta(pattern=r"^\d+(\.\d+){1,3}\Z")] = "0.34.4"
    """
    The Ollama version that clients are told. Whole numbers with dots only: several clients
    compare the parts as numbers.
    """
    wrong_model: Literal["error", "warn"] = "error"
    """
    What happens when another model answers than the one that was asked: an `error`, or `warn`
    in a header.
    """
    early_headers_s: Seconds | None = None
    """
    Seconds after which a streamed answer sends its status and headers without content, for
    clients that time out without them. A later failure is an error line. If this is not set, a
    failure keeps its own status. Below `/v1` only while a request waits for a slot (docs/queue.md).
    """
    sign_of_life_s: Seconds = 15.0
    """
    Seconds without a byte after which an event stream below `/v1` gets a comment, for clients and
    proxies that time out. It is sent after the answer has begun. 0 sends none.
    """
