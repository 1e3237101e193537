"""The case and fixture files themselves, and the checks that keep them honest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from conformance.__main__ import check_fixtures
from conformance.suite.case import (
    Case,
    ClientRequest,
    check_cases,
    load_cases,
    load_schema,
    read_cases,
    select,
)
from conformance.suite.fixture import (
    REPLAYS,
    cut_into,
    list_fixtures,
    load_fixture,
    read_fixture,
)
from conformance.suite.known import read_known_failing
from conformance.suite.source import SourceProblem

GOOD = """\
case: chat/made-up
why: a test of the checks
client: {request: {model: m}}
expect: {json_has: [done]}
"""


def test_all_cases_are_sound() -> None:
    """Names are unique and in their folder, fixtures exist, something is expected."""
    cases = load_cases()

    assert [] == [*check_cases(cases), *check_fixtures(cases)]


def test_schema_describes_the_type() -> None:
    """The editor's schema and the loader's type have the same keys."""
    keys = load_schema()["$defs"]["Case"]["properties"].keys()

    assert keys == {
        field.encode_name for field in msgspec.structs.fields(Case) if field.name != "place"
    }


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("why: a test of the checks\n", "", "lacks `why`"),
        ("why: a test of the checks", "why: short", "too short"),
        ("expect: {json_has: [done]}", "expect: {}", "expect"),
        ("client:", "cleint:", "did you mean `client`?"),
        ("{model: m}", "{model: m}, raw_body: x", "client"),
        ("chat/made-up", "Chat Made Up", "case must match"),
        ("json_has: [done]", "json_has: done", "must be of type array, this is string"),
        ("json_has: [done]", "json_has: [done], status: '200'", "integer, this is string"),
        ("why:", "case: chat/again\nwhy:", "`case` stands here twice"),
        ("{model: m}", "&a {model: m}", "anchors"),
        ("{request", "[{request", "not YAML"),
        ("expect:", "upstream: {fixture: a, script: []}\nexpect:", "upstream"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Each mistake is named at its line, in words."""
    assert old in GOOD
    path = tmp_path / "case.yaml"
    path.write_text(GOOD.replace(old, new, 1))

    with pytest.raises(SourceProblem) as caught:
        read_cases(path)

    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("chat/made-up", "tags/made-up", "must begin with `chat/`"),
        ("expect:", "upstream: {fixture: lmstudio-0.4/nothing}\nexpect:", "no fixture"),
        ("{json_has: [done]}", "{json_has: [done], text: x}", "more than one kind of body"),
        ("{json_has: [done]}", "{status: 204}", "it could hardly fail"),
        ("expect:", "replay: [bytes]\nexpect:", "replays no fixture"),
    ],
)
def test_a_useless_case_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    """A case that cannot fail, or contradicts itself, is a problem."""
    assert old in GOOD
    path = tmp_path / "chat" / "case.yaml"
    path.parent.mkdir()
    path.write_text(GOOD.replace(old, new, 1))

    [problem] = check_cases(read_cases(path), tmp_path)

    assert words in problem


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    """Two cases of one name could not be told apart in a report."""
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(GOOD)

    [problem] = check_cases(load_cases(tmp_path), tmp_path)

    assert "the name is taken" in problem


@pytest.mark.parametrize("name", list_fixtures())
def test_replays_have_the_same_bytes(name: str) -> None:
    """However a fixture is cut, the bytes are the fixture's."""
    fixture = load_fixture(name)

    assert fixture.body == b"".join(data for _, data in cut_into(fixture.body, 1))
    for how in REPLAYS:
        joined = "".join(str(text) for _, text in fixture.replay(how)["chunks"])
        if how != "bytes":
            assert fixture.body == joined.encode()


def test_a_broken_fixture_is_refused(tmp_path: Path) -> None:
    """A fixture without provenance, or with bytes that are none, is named at its line."""
    path = tmp_path / "fixture.yaml"
    path.write_text(
        "provenance: {lmstudio: '0.4.24', follows: docs/facts/lmstudio.md#stream-order}\n"
        "request: {path: /v1/models}\n"
        "response: {status: 200, headers: {}, chunks: [[0, {base64: '!'}]]}\n"
    )

    with pytest.raises(SourceProblem, match="not base64"):
        read_fixture(path, "x")

    path.write_text("request: {path: /v1/models}\nresponse: {status: 200, headers: {}, chunks: []}")
    with pytest.raises(SourceProblem, match="lacks `provenance`"):
        read_fixture(path, "x")


KNOWN: list[tuple[str, Callable[[str], bool]]] = [
    ("# why\nchat/a\n", lambda reason: reason == "why"),
    ("# why\n# indeed\nchat/*\n", lambda reason: reason == "why indeed"),
    ("# old\nchat/b\n# why\nchat/a@bytes\n", lambda reason: reason == "why"),
    ("# head\n\n# why\nchat/b\nchat/a\n", lambda reason: reason == "why"),
]


@pytest.mark.parametrize(("text", "fits"), KNOWN)
def test_known_failures_have_reasons(
    tmp_path: Path, text: str, fits: Callable[[str], bool]
) -> None:
    """The lines above a pattern are its reason, and only those."""
    path = tmp_path / "known.txt"
    path.write_text(text)

    entry = read_known_failing(path).find("chat/a@bytes")

    assert entry is not None
    assert fits(entry.reason)


@pytest.mark.parametrize("text", ["chat/a\n", "# why\n\nchat/a\n", "# why\nchat/a\nchat/a\n"])
def test_a_bad_list_of_failures_is_refused(tmp_path: Path, text: str) -> None:
    """A pattern without a reason, or written twice, is refused."""
    path = tmp_path / "known.txt"
    path.write_text(text)

    with pytest.raises(SourceProblem):
        read_known_failing(path)


def test_stale_patterns_are_found(tmp_path: Path) -> None:
    """A pattern that matches no run is reported, one that matches is not."""
    path = tmp_path / "known.txt"
    path.write_text("# why\nchat/a@bytes\nchat/gone*\n")
    known = read_known_failing(path)

    assert ["chat/gone*"] == [one.pattern for one in known.unmatched(["chat/a@bytes", "chat/b"])]


def test_patterns_select_runs() -> None:
    """A name selects all its replays, one with @ only that, a folder all below it."""
    case = Case(
        name="chat/a/b",
        why="a test of selecting",
        client=ClientRequest(),
        expect=msgspec.convert({}, type=type(load_cases()[0].expect)),
        replays=["recorded", "bytes"],
    )

    def names(*patterns: str) -> list[str]:
        return [run.replay for run in select([case], patterns)]

    assert ["recorded", "bytes"] == names("chat/a/b") == names("chat") == names("chat/*") == names()
    assert ["bytes"] == names("chat/a/b@bytes")
    assert [] == names("chat/a/c") == names("cha")
