"""Thinking and content are told apart, and blanks at their edges are lost, at any cut."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from gateway._generated import internal
from gateway.transforms import separate_speech, text_or_absent

Text = str | UnsetType | None
Chunk = tuple[Text, Text, Text]


def run(chunks: list[Chunk], policy: str) -> tuple[list[str], list[str], int]:
    """Return the pieces of thinking and content that are sent, and the count of deltas."""
    speech: internal.Speech | UnsetType = UNSET
    thinking, content = [], []
    for reasoning_content, reasoning, said in chunks:
        speech = separate_speech(speech, reasoning_content, reasoning, said, policy)
        thinking.append(speech.thinking)
        content.append(speech.content)
    assert isinstance(speech, internal.Speech)
    return thinking, content, speech.deltas


def thought(text: str) -> Chunk:
    return text, UNSET, UNSET


def said(text: str) -> Chunk:
    return UNSET, UNSET, text


texts = st.lists(st.text(alphabet=" \n\tab\u00e9", max_size=4), max_size=8)


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, str, list[Chunk]]:
    """Draw what is thought, what is said, and a stream of chunks that say it."""
    thoughts, answers = draw(texts), draw(texts)
    silent = st.sampled_from([UNSET, None, ""])
    chunks: list[Chunk] = []
    for piece in thoughts:
        fields = (piece, draw(silent)) if draw(st.booleans()) else (draw(silent), piece)
        chunks.append((*fields, draw(silent)))
    rest = answers
    if chunks and answers and draw(st.booleans()):
        chunks[-1] = (*chunks[-1][:2], answers[0])
        rest = answers[1:]
    chunks += [(draw(silent), draw(silent), piece) for piece in rest]
    chunks.append((UNSET, UNSET, UNSET))
    return "".join(thoughts), "".join(answers), chunks


@given(streams())
@example((" a", "b", [thought(" "), thought("a"), said("b")]))
def test_kept_apart_only_edges_are_lost(stream: tuple[str, str, list[Chunk]]) -> None:
    """No cut changes the joined texts, and no piece of thinking is blank."""
    reasoning, answer, chunks = stream
    thinking, content, _ = run(chunks, "field")

    assert reasoning.strip() == "".join(thinking)
    assert answer.lstrip() == "".join(content)
    assert all(piece.strip() for piece in thinking if piece)


@given(streams())
def test_dropped_thinking_leaves_the_content(stream: tuple[str, str, list[Chunk]]) -> None:
    """The same content as when it is kept."""
    _, answer, chunks = stream
    thinking, content, _ = run(chunks, "drop")

    assert "" == "".join(thinking)
    assert answer.lstrip() == "".join(content)


@given(streams())
def test_merged_thinking_stands_between_marks(stream: tuple[str, str, list[Chunk]]) -> None:
    """In the content, before what is said; without an answer the last mark is missing."""
    reasoning, answer, chunks = stream
    thinking, content, _ = run(chunks, "merge")
    marked = f"<think>{reasoning.strip()}" if reasoning.strip() else ""
    closing = "</think>\n\n" if marked and answer.strip() else ""

    assert "" == "".join(thinking)
    assert marked + closing + answer.lstrip() == "".join(content)


@given(streams(), st.sampled_from(["field", "drop", "merge"]))
def test_every_delta_that_is_not_empty_counts(
    stream: tuple[str, str, list[Chunk]], policy: str
) -> None:
    """Blank ones too, and both of a chunk that has two."""
    *_, chunks = stream
    wanted = sum(bool(first or second) + bool(third) for first, second, third in chunks)

    assert wanted == run(chunks, policy)[2]


def test_content_is_passed_on_piece_by_piece() -> None:
    """Once it has begun, nothing of it waits or is changed."""
    chunks = [said("\n\n"), said(" Yes"), said(" "), said("\n"), said("no "), said("")]

    assert ["", "Yes", " ", "\n", "no ", ""] == run(chunks, "field")[1]


def test_blanks_inside_thinking_come_with_the_next_piece() -> None:
    """Those at its end never come."""
    chunks = [thought("\n"), thought("a "), thought("\n\n"), thought("b"), thought("\n"), said("c")]

    assert ["", "a", "", " \n\nb", "", ""] == run(chunks, "field")[0]


def test_a_chunk_without_text_sends_nothing_again() -> None:
    """Such as the finish chunk and the one with the usage."""
    silent: Chunk = (None, UNSET, "")

    assert ["a", "", "", ""] == run([thought("a"), silent, said("b"), silent], "field")[0]
    assert ["", "", "b", ""] == run([thought("a"), silent, said("b"), silent], "field")[1]


@pytest.mark.parametrize(
    ("policy", "thinking", "content"),
    [
        ("field", ["a", "", " b", ""], ["", "c ", "", " d"]),
        ("drop", ["", "", "", ""], ["", "c ", "", " d"]),
        ("merge", ["", "", "", ""], ["<think>a", "</think>\n\nc ", "<think> b", "</think>\n\nd"]),
    ],
)
def test_thinking_may_come_again(policy: str, thinking: list[str], content: list[str]) -> None:
    """LM Studio does not do so; content keeps its blanks where there are no marks."""
    chunks = [thought("a "), said("c "), thought(" b\n"), said(" d")]

    assert (thinking, content) == run(chunks, policy)[:2]


def test_empty_texts_are_absent() -> None:
    """Ollama leaves an empty field out."""
    assert UNSET is text_or_absent("")
    assert " " == text_or_absent(" ")
