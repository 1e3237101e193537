"""
A new version of a description, from the first complaint to a regenerated gateway that follows it.

The description is that of LM Studio's chat; adding, retyping and removing a field are tried. Each
time lint names the rules, they are written, and the gateway that is then generated serves requests.
"""

from pathlib import Path
from typing import Any

from conformance.tests.codegen.harness import (
    edited,
    problems_of,
    replaced,
    serving,
    with_gateway,
)

SPEC = "specs/openai.yaml"
CHAT = "specs/mappings/chat.yaml"
GENERATE = "specs/mappings/generate.yaml"
SAMPLING = "gateway/transforms/sampling.py"
TRANSFORMS = "gateway/transforms/__init__.py"
SHARED = "specs/mappings/shared.yaml"
RULE = "      min_p:             options.min_p\n"
IGNORED = "      options.repeat_last_n:     LM Studio fixes the window of its repeat penalty\n"
OF_CHAT = "    include: [generation, structured_output]\n    fields:\n"
"""Where the group of chat's own fields begins, which chat and generate include."""
OF_MADE = "      min_p:             $context.model.made.parameters.min_p\n"
"""The rule of the group that puts a derived model's values into what is passed on."""
PASSED_ON = "  passed_chat:\n"
"""Where the group begins of what chat's routes of LM Studio change, which includes that one."""
ADDED = "        include: made_completion\n        add:\n"
UNTEMPLATED = "      include: generation\n      fields:\n"
"""Where the fields of generate's other request begin."""
UNUSED = "      ignored:\n        think: "
"""Where that request's reasons begin."""
MODEL = "harbor/lantern-8b"
OPTIONS = {"top_k": 5, "min_p": 0.25, "repeat_last_n": 32}


def spec_with(root: Path, old: str, new: str) -> str:
    """Return the description with one passage of the chat request exchanged."""
    text = (root / SPEC).read_text(encoding="utf-8")
    start = text.index("\n    ChatCompletionRequest:\n")
    assert old in text[start:]
    return text[:start] + text[start:].replace(old, new, 1)


def field_of(root: Path, name: str) -> str:
    """Return the lines of a field of the chat request."""
    text = (root / SPEC).read_text(encoding="utf-8")
    start = text.index(f"        {name}:\n", text.index("\n    ChatCompletionRequest:\n"))
    end = text.index("\n        ", start + 10)
    while text[end + 9] == " ":
        end = text.index("\n        ", end + 1)
    return text[start : end + 1]


def told(root: Path, name: str) -> set[tuple[str, str]]:
    """Return the checks that complain, each with the file it names; all must name the field."""
    problems = problems_of(root)
    assert [] == [str(one.headline()) for one in problems if f"`{name}`" not in one.message]
    return {(problem.check, problem.position.file) for problem in problems}


def sent_of(root: Path, folder: Path) -> list[dict[str, Any]]:
    """Have a gateway generated of an edited project; return what it sends for chat and generate."""
    with serving(with_gateway(root, folder)) as gateway:
        asked = {"model": MODEL, "options": OPTIONS}
        chat = {"messages": [{"role": "user", "content": "Good morning!"}]}
        return [
            gateway.sent_for("/api/chat", asked | chat),
            gateway.sent_for("/api/generate", asked | {"prompt": "Good morning!"}),
        ]


def test_the_project_as_it_is_sends_what_is_described(real: Path, tmp_path: Path) -> None:
    """What the edits below change is so before them."""
    for sent in sent_of(real, tmp_path):
        assert (5, 0.25) == (sent["top_k"], sent["min_p"])
        assert "repeat_last_n" not in sent


def test_an_added_field_is_asked_about_and_then_sent(real: Path, tmp_path: Path) -> None:
    """Both mappings that make such a request are named; with the rules written, it is sent."""
    new = spec_with(
        real,
        "        min_p:\n",
        "        repeat_last_n:\n          type: integer\n        min_p:\n",
    )
    rule = OF_CHAT + "      repeat_last_n: {from: options.repeat_last_n, via: whole}\n"
    ignored = UNUSED.replace("think", "options.repeat_last_n: no such setting there\n        think")
    with edited(real, {SPEC: new}):
        assert {("target-undecided", CHAT), ("target-undecided", GENERATE)} == told(
            real, "repeat_last_n"
        )
        shared = replaced(real, SHARED, OF_CHAT, rule).replace(IGNORED, "")
        generate = replaced(real, GENERATE, UNUSED, ignored)
        with edited(real, {SHARED: shared, GENERATE: generate}):
            assert () == problems_of(real)
            sent = sent_of(real, tmp_path)
    assert [32, 32] == [one["repeat_last_n"] for one in sent]
    assert [0.25, 0.25] == [one["min_p"] for one in sent]


def test_a_retyped_field_is_asked_about_and_then_sent_so(real: Path, tmp_path: Path) -> None:
    """A rule that copies a number into what is now a text is named; a transform mends it."""
    old = field_of(real, "min_p")
    new = spec_with(real, old, old.replace("type: number", "type: string"))
    rule = OF_CHAT + "      min_p: {from: options.min_p, via: as_text}\n"
    passed_on = "          min_p: {from: $context.model.made.parameters.min_p, via: as_text}\n"
    transform = '''

def as_text(number: float) -> str:
    """
    Return a number as text.

    >>> as_text(0.25)
    '0.25'
    """
    return str(number)
'''
    with edited(real, {SPEC: new}):
        assert {("type-mismatch", SHARED)} == told(real, "min_p")
        imported = "from gateway.transforms.sampling import as_text as as_text\n"
        before, group, after = replaced(real, SHARED, OF_CHAT, rule).partition(PASSED_ON)
        texts = {
            SHARED: before + group + after.replace(ADDED, ADDED + passed_on, 1),
            SAMPLING: (real / SAMPLING).read_text("utf-8") + transform,
            TRANSFORMS: (real / TRANSFORMS).read_text("utf-8") + imported,
        }
        with edited(real, texts):
            assert () == problems_of(real)
            sent = sent_of(real, tmp_path)
    assert ["0.25", "0.25"] == [one["min_p"] for one in sent]


def test_a_removed_field_is_asked_about_and_then_gone(real: Path, tmp_path: Path) -> None:
    """Rules that set what is no longer there are named; without them, it is not sent."""
    new = spec_with(real, field_of(real, "min_p"), "")
    with edited(real, {SPEC: new}):
        assert {("no-such-target", SHARED)} == told(real, "min_p")
        ignored = "    ignored:\n      options.min_p: this LM Studio has no such setting any more\n"
        ignored = OF_CHAT.replace("    fields:\n", f"{ignored}    fields:\n")
        shared = replaced(real, SHARED, RULE, "").replace(OF_CHAT, ignored).replace(OF_MADE, "")
        generate = replaced(real, GENERATE, UNTEMPLATED, f"{UNTEMPLATED}  {RULE}")
        with edited(real, {SHARED: shared, GENERATE: generate}):
            assert () == problems_of(real)
            sent = sent_of(real, tmp_path)
    assert [False, False] == ["min_p" in one for one in sent]
    assert [5, 5] == [one["top_k"] for one in sent]


def test_the_added_field_is_of_the_type_described(real: Path) -> None:
    """A rule that brings another type is refused, so a green run sends what is described."""
    new = spec_with(
        real,
        "        min_p:\n",
        "        repeat_last_n:\n          type: boolean\n        min_p:\n",
    )
    rule = OF_CHAT + "      repeat_last_n: {from: options.repeat_last_n, via: whole}\n"
    shared = replaced(real, SHARED, OF_CHAT, rule).replace(IGNORED, "")
    with edited(real, {SPEC: new, SHARED: shared}):
        found = {problem.check for problem in problems_of(real)}
    assert "type-mismatch" in found
