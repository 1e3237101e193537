"""
No field of the real specs is undecided: take a decision out, or a field in, and nothing is made.

The rules are those of specs/mappings/chat.yaml, the endpoint that most of the gateway is about,
and those of the groups in shared.yaml.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from codegen.descriptions import source
from codegen.descriptions.problem import Findings, Problem
from codegen.descriptions.source import Key, Mapping, Scalar, Sequence, Value
from conformance.tests.codegen import harness
from conformance.tests.codegen.harness import REPOSITORY, edited, problems_of, replaced

CHAT = "specs/mappings/chat.yaml"
GENERATE = "specs/mappings/generate.yaml"
SHARED = "specs/mappings/shared.yaml"
DECIDING = ("fields", "ignored", "omitted")

Entry = tuple[str, Key]


def entries_of(value: Value, deciding: str = "") -> Iterator[Entry]:
    """Yield the entries of every block that decides about fields, with that block's key."""
    if isinstance(value, Sequence):
        for item in value:
            yield from entries_of(item)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if deciding:
                yield deciding, key
            yield from entries_of(inner, key.text if key.text in DECIDING else "")


def lines_of(file: str, value: Value | None) -> list[Entry]:
    """Return the deciding entries of a part of a file that have a line of their own."""
    text = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()

    def has_own_line(key: Key) -> bool:
        line = text[key.position.line - 1].strip()
        opens_a_block = line.endswith(":") or line.partition("#")[0].rstrip().endswith(":")
        return line.startswith(f"{key.text}:") and not opens_a_block

    assert value is not None
    return [entry for entry in entries_of(value) if has_own_line(entry[1])]


def loaded(file: str) -> Mapping:
    """Return a mapping file of the repository, parsed."""
    return source.load(REPOSITORY / file, REPOSITORY, Findings())


LINES = [*lines_of(CHAT, loaded(CHAT)), *lines_of(SHARED, loaded(SHARED).get("groups"))]


def without(value: Value, gone: Key) -> Value:
    """Return a parsed file as it would be if an entry's line were deleted."""
    match value:
        case Scalar():
            return value
        case Sequence():
            return Sequence(tuple(without(item, gone) for item in value), value.position)
        case Mapping():
            entries = {
                key.text: (key, without(inner, gone))
                for key, inner in value.items()
                if key.position != gone.position
            }
            # A block that has lost its only line is an empty value, not an empty mapping.
            return Mapping(entries, value.position) if entries else Scalar(None, value.position)


def names(problem: Problem, field: str) -> bool:
    """Tell whether a problem is about a field, whichever object it stands in."""
    words = problem.message.replace("`", " ").replace(".", " ").split()
    return field in words and problem.position.line > 0


def test_chat_is_complete(real: Path) -> None:
    """The lines below are all that decides about fields, and with all of them nothing is wrong."""
    assert () == problems_of(real)
    assert len(LINES) > 60


@pytest.mark.parametrize(
    ("block", "key"), LINES, ids=[f"{key.position.line}-{key.text}" for _, key in LINES]
)
def test_a_deleted_line_stops_generation(
    block: str, key: Key, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delete any one decision: the field is named, with file and line."""
    edited_file = real / key.position.file
    shortened = without(harness.load_once(edited_file, real, Findings()), key)
    assert isinstance(shortened, Mapping)

    def read(path: Path, root: Path, findings: Findings) -> Mapping:
        # The line is taken out of the parsed file: reading the text anew takes longest.
        return shortened if path == edited_file else harness.load_once(path, root, findings)

    monkeypatch.setattr("codegen.rules.reader.load", read)
    problems = problems_of(real)

    # A block that has lost its only line can't tell which it was.
    told = key.text.split(".")[-1]
    assert any(names(item, told) or names(item, block) for item in problems), problems


@pytest.mark.parametrize(
    "key", [key for _, key in LINES[::19]], ids=lambda key: f"{key.position.line}-{key.text}"
)
def test_deleting_a_line_of_the_text_is_the_same(key: Key, real: Path) -> None:
    """What is true of the parsed file above is true of the file: its line gone, it is told."""
    file = key.position.file
    lines = (real / file).read_text(encoding="utf-8").splitlines(keepends=True)
    del lines[key.position.line - 1]

    with edited(real, {file: "".join(lines)}):
        problems = problems_of(real)

    assert any(names(problem, key.text.split(".")[-1]) for problem in problems), problems


@pytest.mark.parametrize(
    ("spec", "after", "line", "mapping", "where", "decided_under"),
    [
        (
            "specs/ollama.yaml",
            "    ChatRequest:\n      type: object\n",
            "mood: {type: string}",
            CHAT,
            SHARED,
            "    ignored:\n      options.num_keep:",
        ),
        (
            "specs/openai.yaml",
            "    CompletionChunk:\n      type: object\n",
            "mood: {type: string}",
            GENERATE,
            GENERATE,
            "      ignored:\n        choices.*.index:",
        ),
    ],
    ids=["request", "chunk"],
)
def test_a_new_field_needs_a_decision(
    spec: str, after: str, line: str, mapping: str, where: str, decided_under: str, real: Path
) -> None:
    """A field that is new in a spec stops generation until every translation decides about it."""
    text = (real / spec).read_text(encoding="utf-8")
    at = text.index("      properties:\n", text.index(after)) + len("      properties:\n")
    grown = {spec: f"{text[:at]}        {line}\n{text[at:]}"}

    with edited(real, grown):
        undecided = problems_of(real)
        mine = [problem for problem in undecided if problem.position.file == mapping]
        assert ["source-unmapped"] == [problem.check for problem in mine]
        assert names(mine[0], "mood")
        assert mine[0].declared is not None
        assert spec == mine[0].declared.file

        head, word, tail = decided_under.rpartition("\n")
        indent = " " * (len(tail) - len(tail.lstrip()))
        decision = f"{head}{word}{indent}mood: no one has asked for moods yet\n{tail}"
        with edited(real, {where: replaced(real, where, decided_under, decision)}):
            decided = problems_of(real)

    assert [] == [problem for problem in decided if problem.position.file == mapping]


def test_a_new_field_of_upstreams_request_needs_a_decision(real: Path) -> None:
    """What upstream would take is decided too: sent, or left out for a reason."""
    spec = "specs/openai.yaml"
    text = (real / spec).read_text(encoding="utf-8")
    at = text.index("      properties:\n", text.index("    ChatCompletionRequest:\n"))
    at += len("      properties:\n")

    with edited(real, {spec: f"{text[:at]}        mood: {{type: string}}\n{text[at:]}"}):
        problems = problems_of(real)

    assert {"target-undecided"} == {problem.check for problem in problems}
    assert CHAT in {problem.position.file for problem in problems}
