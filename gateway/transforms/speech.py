"""
The text of an answer, split into thinking and content, chunk by chunk.

This is the hot path of the gateway: every token of every stream passes here.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Raw, UnsetType

from ..types import internal
from ..wire.go_text import BLANKS
from ._tags import CLOSING, OPENING, tail_of_tag


def separate_speech(
    speech: internal.Speech | UnsetType,
    reasoning_content: str | UnsetType | None,
    reasoning: str | UnsetType | None,
    content: str | UnsetType | None,
    finish_reason: str | UnsetType | None,
    reasons: str,
    tags: str,
    policy: str,
    template: internal.Template | UnsetType,
    think: Raw | UnsetType | None,
    streamed: bool | UnsetType | None,
) -> internal.Speech:
    """
    Return what a chunk has to say now: `thinking` and `content`, "" for nothing.

    The accumulator is used again and changed. Blanks at the start of either kind, and at the end of
    the thinking, are dropped; blanks at the end of a piece of thinking wait in `held` for the next
    one. Under the policy "field" thinking stays apart, under "drop" it is lost, under "merge" it
    goes into the content between `<think>` and `</think>`; if nothing follows the thinking there,
    the closing mark is never written. `deltas` counts what the model wrote, blanks included.
    (docs/facts/lmstudio.md#edge-whitespace)

    Content that begins with `<think>` is thinking up to the first `</think>`, when `tags` is
    "split", the model is not known never to reason (`reasons` is "no") and no thinking came apart:
    hosts before 0.4 leave it to a setting of their own (docs/facts/lmstudio.md#think-tags). A tag
    further on is text. What may become a tag waits in `pending`, and is said when there is a
    `finish_reason`.

    If a closing tag comes without an opening one, the template opened the thinking: an answer that
    is not `streamed` is split there, a stream goes on as content, and `template` remembers it, for
    answers to requests whose `think` is not false. From then on, text up to the closing tag is
    thinking. An answer that stops without one makes `template` forget it, and its text, which was
    said as thinking, is said once more as content: it was the answer.

    >>> more = ("yes", "split", "field", UNSET, UNSET, UNSET)
    >>> speech = separate_speech(UNSET, "\\n", UNSET, UNSET, UNSET, *more)
    >>> speech.thinking
    ''
    >>> separate_speech(speech, "Hm. ", UNSET, UNSET, UNSET, *more).thinking
    'Hm.'
    >>> separate_speech(speech, UNSET, UNSET, "\\n\\nYes", UNSET, *more).content
    'Yes'
    """
    if speech is UNSET:
        may_split = tags == "split" and reasons != "no"
        speech = internal.Speech(
            thinking="",
            content="",
            held="",
            phase="start",
            deltas=0,
            tagged="unknown" if may_split else "no",
            pending="",
            pieces=[],
        )
    # Reading a field is much cheaper than writing it, so a field is written only if it changes.
    thought = reasoning_content or reasoning
    deltas = None
    if speech.tagged == "watched":
        if content and CLOSING in content:
            _remember(template, opens=True)
            speech.tagged = "no"
    elif speech.tagged != "no" and (thought or content or finish_reason):
        deltas = speech.deltas + bool(thought) + bool(content)
        if thought and speech.tagged in ("unknown", "opened") and not speech.pending:
            speech.tagged = "no"
        else:
            if speech.tagged == "unknown" and content:
                speech.tagged = _first_guess(speech, content, template, think, streamed)
            inner, content = _split_tags(speech, content or "", finish_reason or "", template)
            thought = (thought or "") + inner
    if thought:
        _say_thinking(speech, thought, policy)
    elif speech.thinking:
        speech.thinking = ""
    if content:
        speech.deltas += 1
        if speech.phase != "content" or speech.held:
            content = _begin_content(speech, content, policy)
        speech.content = speech.content + content if thought else content
    elif speech.content and not thought:
        speech.content = ""
    if deltas is not None:
        speech.deltas = deltas
    return speech


def unsaid_content(
    finish_reason: str | UnsetType,
    speech: internal.Speech | UnsetType,
    template: internal.Template | UnsetType,
    policy: str,
) -> str:
    """
    Return the content that still waits for a finish reason when the answer has ended; "" for none.

    A host may write "" as the reason, in the last chunk or in each
    (docs/facts/lmstudio.md#finish-reason). It may be the end, but nothing is said because of it.

    >>> chunk = (UNSET, UNSET, "<th", "", "yes", "split", "field", UNSET, UNSET, True)
    >>> speech = separate_speech(UNSET, *chunk)
    >>> speech.content, unsaid_content("", speech, UNSET, "field")
    ('', '<th')
    """
    if finish_reason or isinstance(speech, UnsetType) or speech.tagged in ("no", "watched"):
        return ""
    _, content = _split_tags(speech, "", "stop", template)
    return _begin_content(speech, content, policy) if content else ""


def _first_guess(
    speech: internal.Speech,
    content: str,
    template: internal.Template | UnsetType,
    think: Raw | UnsetType | None,
    streamed: bool | UnsetType | None,
) -> Literal["unknown", "opened", "undecided", "watched", "no"]:
    """Return how content that begins now is read; unknown while it may begin with a tag."""
    start = (speech.pending + content).lstrip(BLANKS)
    if OPENING.startswith(start) or start.startswith(OPENING):
        return "unknown"
    if isinstance(template, UnsetType) or (isinstance(think, Raw) and bytes(think) == b"false"):
        return "no"
    if streamed is False:
        return "undecided"
    return "opened" if template.opens_thinking else "watched"


def _split_tags(
    speech: internal.Speech,
    text: str,
    finish_reason: str,
    template: internal.Template | UnsetType,
) -> tuple[str, str]:
    """Split content that may hold tags, and return its thinking and its content."""
    if speech.tagged == "undecided":
        return _split_whole(speech, text, finish_reason, template)
    is_last = bool(finish_reason)
    text = speech.pending + text
    speech.pending = ""
    if speech.tagged in ("no", "watched"):
        return "", text
    if speech.tagged == "unknown":
        start = text.lstrip(BLANKS)
        if not start.startswith(OPENING):
            if not is_last:
                speech.pending = text
                return "", ""
            speech.tagged = "no"
            return "", text
        speech.tagged = "inside"
        text = start[len(OPENING) :]
    thought, closing, content = text.partition(CLOSING)
    if closing:
        speech.tagged = "no"
        return thought, content
    is_guess = speech.tagged == "opened"
    if is_last and is_guess and finish_reason == "stop":
        _remember(template, opens=False)
        speech.tagged = "no"
        return "", "".join((*speech.pieces, thought))
    if is_last:
        return thought, ""
    kept = tail_of_tag(thought)
    speech.pending, thought = thought[kept:], thought[:kept]
    if is_guess:
        speech.pieces.append(thought)
    return thought, ""


def _split_whole(
    speech: internal.Speech,
    text: str,
    finish_reason: str,
    template: internal.Template | UnsetType,
) -> tuple[str, str]:
    """Keep the content of a one-shot answer until its closing tag or its end, and split it then."""
    pieces = speech.pieces
    if not pieces:
        pieces.append(speech.pending)
    pieces.append(text)
    window = speech.pending + text
    if CLOSING not in window and not finish_reason:
        speech.pending = window[1 - len(CLOSING) :]
        return "", ""
    speech.tagged, speech.pending = "no", ""
    whole = "".join(pieces)
    pieces.clear()
    thought, closing, content = whole.partition(CLOSING)
    if closing and OPENING not in thought:
        _remember(template, opens=True)
        return thought, content
    opens = isinstance(template, internal.Template) and template.opens_thinking
    if opens and finish_reason == "length":
        return whole, ""
    _remember(template, opens=False)
    return "", whole


def _remember(template: internal.Template | UnsetType, *, opens: bool) -> None:
    if isinstance(template, internal.Template):
        template.opens_thinking = opens


def _say_thinking(speech: internal.Speech, thought: str, policy: str) -> None:
    """Put a piece of thinking into the field that the policy demands."""
    speech.deltas += 1
    text = speech.held + thought if speech.held else thought
    opening = ""
    if speech.phase != "thinking":
        # Thinking after content keeps its leading blanks: only a tag starts a new piece.
        text = text.lstrip(BLANKS) if speech.phase == "start" else text
        if text.strip(BLANKS):
            opening = "<think>"
            if speech.phase == "start" or policy == "merge":
                speech.phase = "thinking"
    said = text.rstrip(BLANKS)
    if len(said) != len(text):
        speech.held = text[len(said) :]
    elif speech.held:
        speech.held = ""
    if policy == "field":
        speech.thinking = said
        said = ""
    elif policy == "merge":
        said = opening + said
    else:
        said = ""
    if speech.content != said:
        speech.content = said


def _begin_content(speech: internal.Speech, content: str, policy: str) -> str:
    """Return the part to send of content that follows thinking or comes first."""
    if speech.phase == "content":
        if content.strip(BLANKS):
            speech.held = ""
        return content
    if speech.phase == "thinking":
        # Blanks are cut around thinking, and nowhere else (docs/facts/ollama.md#whitespace).
        content = content.lstrip(BLANKS)
        if not content:
            return ""
    closing = "</think>\n\n" if policy == "merge" and speech.phase == "thinking" else ""
    speech.phase = "content"
    speech.held = ""
    return closing + content
