"""
Thinking in answers that are passed on, where the model's template has opened it.

Such text is content up to a `</think>` without its opening tag (docs/facts/lmstudio.md#think-tags).
What is learned of a template is shared with `speech`, which reads the answers of Ollama's routes.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, UnsetType

from ..types import internal
from ..wire.go_text import BLANKS
from ..wire.lenient import UNREADABLE
from ._tags import CLOSING, OPENING, tail_of_tag
from .rewriter import Chunk, Rewriter

_decode_items: Final = msgspec.json.Decoder(list[Raw]).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_NOTHING: Final = (b"", b"null", b'""')
_NO_EFFORT: Final = b'"none"'
_REASONING: Final = "reasoning_content"


def is_thinking_opened(
    template: internal.Template | UnsetType,
    reasons: str,
    tags: str,
    effort: Raw | UnsetType,
) -> bool:
    """
    Whether answers begin inside their thinking, as far as an earlier one of this model has shown.

    `effort` is the request's own; with "none" there is no thinking.

    >>> is_thinking_opened(internal.Template(opens_thinking=True), "yes", "split", Raw(b'"low"'))
    True
    """
    return (
        isinstance(template, internal.Template)
        and template.opens_thinking
        and reasons != "no"
        and tags == "split"
        and (isinstance(effort, UnsetType) or bytes(effort) != _NO_EFFORT)
    )


def opened_thinking(template: internal.Template | UnsetType) -> Rewriter:
    """
    Return a rewriter that makes the text up to `</think>` reasoning, as it comes.

    A stream that stops without the tag makes `template` forget that it opens the thinking; its
    text, which was sent as reasoning, is sent once more as content.

    >>> thinking = opened_thinking(internal.Template(opens_thinking=True))
    >>> for text in (b"Hm.</thi", b"nk>\\\\n\\\\nYes"):
    ...     chunk = {"choices": Raw(b'[{"delta":{"content":"%b"}}]' % text)}
    ...     [bytes(one["choices"]).decode() for one in thinking.take(chunk)]
    ['[{"delta":{"reasoning_content":"Hm."}}]']
    ['[{"delta":{"content":"Yes"}}]']
    """
    return OpenedThinking(template)


def watched_thinking(template: internal.Template | UnsetType, reasons: str, tags: str) -> Rewriter:
    """
    Return a rewriter that looks for a `</think>` that no tag has opened.

    A whole answer is split there. A stream goes on as it comes, and `template` remembers it.
    Nothing is done for a model that never reasons, and unless `tags` is "split".

    >>> template = internal.Template(opens_thinking=False)
    >>> answer = {"choices": Raw(b'[{"message":{"content":"Hm.</think>Yes"}}]')}
    >>> thinking = watched_thinking(template, "yes", "split")
    >>> bytes(thinking.take(answer)[0]["choices"]).decode()
    '[{"message":{"content":"Yes","reasoning_content":"Hm."}}]'
    >>> template.opens_thinking
    True
    """
    return WatchedThinking(template, may_split=tags == "split" and reasons != "no")


def _first_choice(chunk: Chunk) -> tuple[list[Raw], Chunk, str, Chunk] | None:
    """Return the choices, the first one's members, the member with the text, and its members."""
    try:
        choices = _decode_items(chunk["choices"])
        choice = _decode_members(choices[0])
        part = "delta" if "delta" in choice else "message"
        return choices, choice, part, _decode_members(choice[part])
    except (*UNREADABLE, LookupError):
        return None


def _content_of(said: Chunk) -> str:
    try:
        return _decode_text(said.get("content", b'""'))
    except UNREADABLE:
        return ""


def _has(said: Chunk, name: str) -> bool:
    return bytes(said.get(name, b"")) not in _NOTHING


def _thinks_apart(said: Chunk) -> bool:
    """Return whether LM Studio has split the thinking itself."""
    return _has(said, _REASONING) or _has(said, "reasoning")


def _with_choice(chunk: Chunk, choices: list[Raw], choice: dict[str, Any]) -> Chunk:
    return {**chunk, "choices": Raw(msgspec.json.encode([choice, *choices[1:]]))}


class WatchedThinking:
    """Sees the chunks of one answer in which a tag is."""

    is_waiting = False
    """Whether the next chunk must be taken: never, since no chunk is held."""

    def __init__(self, template: internal.Template | UnsetType, *, may_split: bool) -> None:
        self._template = template
        self._is_over = not may_split

    def take(self, chunk: Chunk) -> list[Chunk]:
        """Return the chunk, a whole answer split at its closing tag."""
        found = None if self._is_over else _first_choice(chunk)
        if found is None:
            return [chunk]
        choices, choice, part, said = found
        text = _content_of(said)
        opening, closing = text.find(OPENING), text.find(CLOSING)
        if opening < 0 and closing < 0:
            return [chunk]
        self._is_over = True
        if closing < 0 or 0 <= opening < closing or _thinks_apart(said):
            return [chunk]
        if isinstance(self._template, internal.Template):
            self._template.opens_thinking = True
        return [chunk] if part == "delta" else [_split(chunk, choices, choice, said, text)]

    def end(self) -> list[Chunk]:
        """Return nothing, since nothing waits."""
        return []


def _split(chunk: Chunk, choices: list[Raw], choice: Chunk, said: Chunk, text: str) -> Chunk:
    """Return a whole answer whose text up to the closing tag is reasoning."""
    thought, _, content = text.partition(CLOSING)
    message = {**said, "content": content.lstrip(BLANKS), _REASONING: thought.strip(BLANKS)}
    return _with_choice(chunk, choices, {**choice, "message": message})


class OpenedThinking:
    """Splits one answer that is taken to begin inside its thinking."""

    def __init__(self, template: internal.Template | UnsetType) -> None:
        self._template = template
        self._is_over = False
        self._is_content = False
        """Whether thinking has ended and the blanks after it may still come."""
        self._pieces: list[str] = []
        """The text that was sent as reasoning."""
        self._pending = ""
        """An end that may become the closing tag."""
        self._last: Chunk | None = None
        """The last chunk of a stream, of which further ones are made."""

    @property
    def is_waiting(self) -> bool:
        """Whether the next chunk must be taken."""
        return not self._is_over

    def take(self, chunk: Chunk) -> list[Chunk]:
        """Return the chunks that come in place of one; a list of itself where it stays."""
        found = None if self._is_over else _first_choice(chunk)
        if found is None:
            return [chunk]
        choices, choice, part, said = found
        if _thinks_apart(said):
            self._is_over = True
            return [chunk]
        text = _content_of(said)
        if part == "message":
            return [self._whole(chunk, choices, choice, said, text)]
        self._last = chunk
        reason = bytes(choice.get("finish_reason", b"null"))
        # A host may write "" in each chunk (docs/facts/lmstudio.md#finish-reason).
        is_finished = reason not in _NOTHING
        thought, content = self._separate(text)
        if is_finished and not self._is_over:
            thought, content = self._finish(thought, is_stop=reason == b'"stop"')
        if not (text or thought or content):
            return [chunk]
        after: dict[str, Any] = {name: raw for name, raw in said.items() if name != "content"}
        if thought:
            after[_REASONING] = thought
        if content:
            after["content"] = content
        is_empty = not any(_is_filled(value) for value in after.values())
        if is_empty and reason == b"null" and not _has(chunk, "usage"):
            return []
        return [_with_choice(chunk, choices, {**choice, "delta": after})]

    def end(self) -> list[Chunk]:
        """Return what waits, as reasoning: the answer has broken off."""
        pending, self._pending = self._pending, ""
        if not pending or self._last is None:
            return []
        choice = {"index": 0, "delta": {_REASONING: pending}, "finish_reason": None}
        return [_with_choice(self._last, [], choice)]

    def _separate(self, text: str) -> tuple[str, str]:
        """Return the thinking and the content that a piece of text brings."""
        if self._is_content:
            content = text.lstrip(BLANKS)
            self._is_over = bool(content)
            return "", content
        text = self._pending + text
        self._pending = ""
        if not self._pieces and text.lstrip(BLANKS).startswith(OPENING):
            # It opens its thinking itself, as clients know it.
            self._is_over = True
            return "", text
        thought, closing, content = text.partition(CLOSING)
        if closing:
            content = content.lstrip(BLANKS)
            self._is_content, self._is_over = True, bool(content)
            return thought, content
        kept = tail_of_tag(thought)
        if not self._pieces and OPENING.startswith(thought.lstrip(BLANKS)):
            # It may become an opening tag.
            kept = 0
        self._pending, thought = thought[kept:], thought[:kept]
        if thought:
            self._pieces.append(thought)
        return thought, ""

    def _finish(self, thought: str, *, is_stop: bool) -> tuple[str, str]:
        """Return what is still to say of an answer that ends here inside its thinking."""
        self._is_over = True
        pending, self._pending = self._pending, ""
        if self._is_content:
            return thought, ""
        if not is_stop:
            return thought + pending, ""
        if isinstance(self._template, internal.Template):
            self._template.opens_thinking = False
        return "", "".join(self._pieces) + pending

    def _whole(
        self, chunk: Chunk, choices: list[Raw], choice: Chunk, said: Chunk, text: str
    ) -> Chunk:
        """Return a whole answer, split where its thinking ends."""
        self._is_over = True
        opening, closing = text.find(OPENING), text.find(CLOSING)
        if 0 <= opening < closing:
            return chunk
        if closing >= 0:
            return _split(chunk, choices, choice, said, text)
        if bytes(choice.get("finish_reason", b"null")) == b'"length"' and opening < 0 and text:
            message = {**said, "content": "", _REASONING: text}
            return _with_choice(chunk, choices, {**choice, "message": message})
        if isinstance(self._template, internal.Template):
            self._template.opens_thinking = False
        return chunk


def _is_filled(value: Any) -> bool:
    return bytes(value) not in _NOTHING if isinstance(value, Raw) else bool(value)
