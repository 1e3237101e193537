"""Words, lines and numbers."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType, structs

from ..types import internal, ollama, openai
from .rewriter import Chunk, Rewriter


def keep_problem(keep: str | UnsetType) -> str | UnsetType:
    """Say what is wrong with a time to keep a model: `keep_problem("soon")` names it."""
    return UNSET if keep in (UNSET, "none", "long") else f"'{keep}' is no time"


def wants_hold(keep: str | UnsetType) -> bool:
    """Whether a model is to stay: `wants_hold("long")` is True."""
    return keep != "none"


def with_warmth(options: ollama.Options, least: float) -> ollama.Options:
    """Return options whose warmth is at least this: `with_warmth(Options(), 0.5)` has 0.5."""
    warmth = least if isinstance(options.warmth, UnsetType) else max(least, options.warmth)
    return structs.replace(options, warmth=warmth)


def with_question(
    notes: list[ollama.Note] | UnsetType, question: str | UnsetType
) -> list[internal.SortedLine]:
    """Return notes and question as lines: `with_question(UNSET, "Why?")` is one line."""
    lines = [
        internal.SortedLine(role=note.role or "", text=note.text or "", grade=note.grade)
        for note in notes or []
    ]
    return lines + question_lines(question)


def question_lines(question: str | UnsetType) -> list[internal.SortedLine]:
    """Return the question as the only line: `question_lines(UNSET)` is empty."""
    return [internal.SortedLine(role="reader", text=question)] if question else []


def size_number(size: str) -> int:
    """Return a size in sheets: `size_number("large")` is 9."""
    return 9 if size == "large" else 1


def as_list(text: str) -> list[str]:
    """Return a text alone in a list: `as_list("a")` is `["a"]`."""
    return [text]


def whole(number: float) -> int:
    """Return a number without its fraction: `whole(2.0)` is 2."""
    return int(number)


def label_text(label: openai.Label) -> str:
    """Return a label's text: `label_text(Label(text="a"))` is "a"."""
    return label.text


def count_words(
    words: list[internal.Word] | UnsetType, text: str, least: int
) -> list[internal.Word]:
    """Count words of at least so many letters: "to be or not to be" has `to` twice."""
    counted = {word.word: word.times for word in words or []}
    for word in text.split():
        if len(word) >= least:
            counted[word] = counted.get(word, 0) + 1
    return [internal.Word(word=word, times=times) for word, times in counted.items()]


def most_used(words: list[internal.Word]) -> list[internal.Word]:
    """Return words, those used most first: `most_used([])` is `[]`."""
    return sorted(words, key=lambda word: -word.times)


def plain_form(form: Raw) -> openai.Form | UnsetType:
    """Return a form without its schema where it is a text: `plain_form(b'"text"')` is one."""
    return openai.Form(kind="text") if bytes(form) == b'"text"' else UNSET


def listed_twice(data: Raw) -> list[Raw]:
    """Return a list as its items: `listed_twice(b"[1]")` has one."""
    return msgspec.json.decode(data, type=list[Raw])


class Pieces:
    """Holds each chunk until the next one comes."""

    def __init__(self, most: float | UnsetType) -> None:
        """Hold at most so many chunks."""
        self._most = 1 if isinstance(most, UnsetType) else most
        self._held: list[Chunk] = []

    @property
    def is_waiting(self) -> bool:
        """Whether a chunk is held."""
        return bool(self._held)

    def take(self, chunk: Chunk) -> list[Chunk]:
        """Return the chunk that waited."""
        self._held.append(chunk)
        return [self._held.pop(0)] if len(self._held) > self._most else []

    def end(self) -> list[Chunk]:
        """Return what waits."""
        held, self._held = self._held, []
        return held


def joined_pieces(most: float | UnsetType) -> Rewriter:
    """Return a rewriter that holds chunks: `joined_pieces(1).take({})` is empty."""
    return Pieces(most)
