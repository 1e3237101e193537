"""Thinking and content are told apart, and blanks at their edges are lost, at any cut."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET, Raw, UnsetType

from gateway.transforms import separate_speech
from gateway.types import internal

Text = str | UnsetType | None
Chunk = tuple[Text, Text, Text]
UNASKED = (UNSET, UNSET, UNSET)
"""No template is known, and the request says neither `think` nor `stream`."""


def run(chunks: list[Chunk], policy: str) -> tuple[list[str], list[str], int]:
    """Return the pieces of thinking and content that are sent, and the count of deltas."""
    speech: internal.Speech | UnsetType = UNSET
    thinking, content = [], []
    for place, (reasoning_content, reasoning, said) in enumerate(chunks, 1):
        finish = "stop" if place == len(chunks) else UNSET
        speech = separate_speech(
            speech, reasoning_content, reasoning, said, finish, "yes", "split", policy, *UNASKED
        )
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


def edged(reasoning: str, answer: str) -> str:
    """The content of an answer: blanks at its start go only after thinking."""
    return answer.lstrip() if reasoning.strip() else answer


@given(streams())
@example((" a", "b", [thought(" "), thought("a"), said("b")]))
def test_kept_apart_only_edges_are_lost(stream: tuple[str, str, list[Chunk]]) -> None:
    """No cut changes the joined texts, and no piece of thinking is blank."""
    reasoning, answer, chunks = stream
    thinking, content, _ = run(chunks, "field")

    assert reasoning.strip() == "".join(thinking)
    assert edged(reasoning, answer) == "".join(content)
    assert all(piece.strip() for piece in thinking if piece)


@given(streams())
def test_dropped_thinking_leaves_the_content(stream: tuple[str, str, list[Chunk]]) -> None:
    """The same content as when it is kept."""
    reasoning, answer, chunks = stream
    thinking, content, _ = run(chunks, "drop")

    assert "" == "".join(thinking)
    assert edged(reasoning, answer) == "".join(content)


@given(streams())
def test_merged_thinking_stands_between_marks(stream: tuple[str, str, list[Chunk]]) -> None:
    """In the content, before what is said; without an answer the last mark is missing."""
    reasoning, answer, chunks = stream
    thinking, content, _ = run(chunks, "merge")
    marked = f"<think>{reasoning.strip()}" if reasoning.strip() else ""
    closing = "</think>\n\n" if marked and answer.strip() else ""

    assert "" == "".join(thinking)
    assert marked + closing + edged(reasoning, answer) == "".join(content)


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

    assert ["", "\n\n Yes", " ", "\n", "no ", ""] == run(chunks, "field")[1]
    assert ["", "", "Yes", " ", "\n", "no ", ""] == run([thought("a"), *chunks], "field")[1]


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


def cut(text: str, places: list[int]) -> list[str]:
    """Cut a text at these places, in any order, some of them beyond its end."""
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def tell_apart(
    pieces: list[str], *, reasons: str = "yes", tags: str = "split", at_once: bool = False
) -> tuple[str, str]:
    """Return the thinking and the content of a stream that says everything as content."""
    speech: internal.Speech | UnsetType = UNSET
    thinking = content = ""
    ends: list[str | None] = [None] * (len(pieces) - at_once) + ["stop"]
    for piece, end in zip(pieces if at_once else [*pieces, ""], ends, strict=True):
        speech = separate_speech(speech, UNSET, UNSET, piece, end, reasons, tags, "field", *UNASKED)
        thinking += speech.thinking
        content += speech.content
    return thinking, content


TAGGED = {
    "<think>Hm.</think>Yes": ("Hm.", "Yes"),
    "\n<think>\nHm.\n</think>\n\nYes": ("Hm.", "Yes"),
    "<think></think>Yes": ("", "Yes"),
    "<think>Hm": ("Hm", ""),
    "<think>Hm</thin": ("Hm</thin", ""),
    "<think>a < b</b></think>c": ("a < b</b>", "c"),
    "<think>a</think>b</think>c": ("a", "b</think>c"),
    "<think>a</think><think>b</think>": ("a", "<think>b</think>"),
    "Write `<think>` here</think>": ("", "Write `<think>` here</think>"),
    "```\n<think>x</think>\n```": ("", "```\n<think>x</think>\n```"),
    "<thinking>x": ("", "<thinking>x"),
    "<thin": ("", "<thin"),
    "<": ("", "<"),
    "": ("", ""),
}


@pytest.mark.parametrize(("text", "expected"), TAGGED.items(), ids=list(TAGGED))
@given(places=st.lists(st.integers(0, 60), max_size=6), at_once=st.booleans())
def test_tags_at_the_start_are_thinking_however_they_are_cut(
    text: str, expected: tuple[str, str], places: list[int], at_once: bool
) -> None:
    """Only the first tags count, and what never became a tag is said in the end."""
    assert expected == tell_apart(cut(text, places), at_once=at_once)


@given(st.text(alphabet="<think>/ \nab", max_size=24), st.lists(st.integers(0, 60), max_size=8))
def test_a_cut_never_changes_what_tags_mean(text: str, places: list[int]) -> None:
    """What comes in pieces is what would have come at once."""
    text = "<think>" + text
    assert tell_apart([text], at_once=True) == tell_apart(cut(text, places))


@pytest.mark.parametrize(
    ("reasons", "tags"), [("no", "split"), ("yes", "keep"), ("unknown", "keep")]
)
def test_tags_stay_where_they_are(reasons: str, tags: str) -> None:
    """A model that never reasons writes about tags; and a setting keeps them all."""
    said_so = ["<thi", "nk>a</think>", "b"]
    assert ("", "".join(said_so)) == tell_apart(said_so, reasons=reasons, tags=tags)


def test_tags_are_text_where_thinking_comes_apart() -> None:
    """LM Studio has split already, so what is left is meant."""
    speech = separate_speech(UNSET, "Hm.", UNSET, UNSET, UNSET, "yes", "split", "field", *UNASKED)
    speech = separate_speech(
        speech, UNSET, UNSET, "<think>", UNSET, "yes", "split", "field", *UNASKED
    )
    assert ("", "<think>") == (speech.thinking, speech.content)


def test_blanks_are_those_of_go() -> None:
    """A separator of ASCII is no blank there, though Python takes it for one; NBSP is one."""
    thinking, content, _ = run([thought("\xa0\x1fHm\x1f\xa0"), said("\u2003\x1cYes\x1c ")], "field")

    assert "\x1fHm\x1f" == "".join(thinking)
    assert "\x1cYes\x1c " == "".join(content)


# -- thinking that the template opened


class Answers:
    """The answers of one model, whose template is known by and by."""

    def __init__(self, opens: bool = False) -> None:
        self.template = internal.Template(opens_thinking=opens)

    def read(
        self, *pieces: str, streamed: bool = True, finish: str = "stop", think: bytes = b"true"
    ) -> tuple[str, str]:
        """Return the thinking and the content of an answer in pieces."""
        speech: internal.Speech | UnsetType = UNSET
        thinking, content = [], []
        ends: list[Text] = [*(UNSET for _ in pieces), finish]
        texts: list[Text] = [*pieces, UNSET]
        for piece, end in zip(texts, ends, strict=True):
            speech = separate_speech(
                speech,
                UNSET,
                UNSET,
                piece,
                end,
                "yes",
                "split",
                "field",
                self.template,
                Raw(think),
                streamed,
            )
            thinking.append(speech.thinking)
            content.append(speech.content)
        return "".join(thinking), "".join(content)


ORPHAN = ("Hm, a ", "greeting.", "</think>", "\n\nHi", "!")


def test_a_closing_tag_alone_splits_an_answer_in_one_piece() -> None:
    """Whatever its cuts, and the model is remembered."""
    whole = "".join(ORPHAN)
    for size in (1, 2, 5, len(whole)):
        answers = Answers()
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert ("Hm, a greeting.", "Hi!") == answers.read(*pieces, streamed=False)
        assert answers.template.opens_thinking


def test_a_stream_goes_on_as_content_until_the_model_is_known() -> None:
    """What was sent cannot be taken back; the next stream is told apart."""
    answers = Answers()

    assert ("", "".join(ORPHAN)) == answers.read(*ORPHAN)
    assert ("Hm, a greeting.", "Hi!") == answers.read(*ORPHAN)
    assert ("Hm, a greeting.", "Hi!") == answers.read(*"".join(ORPHAN))


def test_an_opening_tag_is_no_part_of_the_thinking() -> None:
    """Some answers of a known model have both tags."""
    assert ("Hm.", "Hi") == Answers(opens=True).read("<think>", "Hm.", "</think>", "Hi")


def test_an_answer_cut_in_its_thinking_is_thinking() -> None:
    """The model stays known."""
    answers = Answers(opens=True)

    for streamed in (True, False):
        assert ("Hm, a", "") == answers.read("Hm,", " a", streamed=streamed, finish="length")
        assert answers.template.opens_thinking


def test_an_answer_without_a_tag_makes_the_model_unknown() -> None:
    """Nothing is lost by it: a stream says once more, as content, what was the answer."""
    for streamed, expected in ((True, ("Hi there", "Hi there")), (False, ("", "Hi there"))):
        answers = Answers(opens=True)
        assert expected == answers.read("Hi", " there", streamed=streamed)
        assert not answers.template.opens_thinking
        assert ("", "Hi there") == answers.read("Hi", " there")


def test_without_thinking_nothing_is_split() -> None:
    """The template opens none then."""
    answers = Answers(opens=True)

    assert ("", "".join(ORPHAN)) == answers.read(*ORPHAN, think=b"false")
    assert ("", "Hi") == answers.read("Hi", streamed=False, think=b"false")
    assert answers.template.opens_thinking


def test_text_about_the_tags_is_text() -> None:
    """An opening tag before the closing one shows it."""
    answers = Answers()
    text = "Put it between <think> and </think>."

    assert ("", text) == answers.read(text, streamed=False)
    assert not answers.template.opens_thinking
