"""
A new version of a description, from the first complaint to generated code that follows it.

The description is that of LM Studio's chat; adding, retyping and removing a field are tried.
"""

from pathlib import Path

from codegen.project import Generator
from conformance.tests.codegen.harness import edited, problems_of

SPEC = "specs/openai.yaml"
CHAT = "specs/mappings/chat.yaml"
GENERATE = "specs/mappings/generate.yaml"
GENERATED = "gateway/_generated/chat.py"
RULE = "        min_p:             options.min_p\n"
IGNORED = "  options.typical_p:         LM Studio has no such sampler setting in a request\n"


def spec_with(root: Path, old: str, new: str) -> str:
    """Return the description with one passage of the chat request exchanged."""
    text = (root / SPEC).read_text(encoding="utf-8")
    start = text.index("\n    ChatCompletionRequest:\n")
    assert old in text[start:]
    return text[:start] + text[start:].replace(old, new, 1)


def told(root: Path) -> set[tuple[str, str]]:
    """Return the checks that complain, each with the file it names."""
    return {(problem.check, problem.position.file) for problem in problems_of(root)}


def test_an_added_field_is_asked_about_and_then_sent(real: Path) -> None:
    """Both mappings that make such a request are named; with the rules written, code follows."""
    new = spec_with(
        real, "        min_p:\n", "        typical_p:\n          type: number\n        min_p:\n"
    )
    rule = "        typical_p:         options.typical_p\n" + RULE
    with edited(real, {SPEC: new}):
        assert {("target-undecided", CHAT), ("target-undecided", GENERATE)} == told(real)
        chat = (real / CHAT).read_text("utf-8").replace(RULE, rule).replace(IGNORED, "")
        generate = (real / GENERATE).read_text("utf-8").replace(RULE, rule, 1)
        with edited(real, {CHAT: chat, GENERATE: generate}):
            assert set() == told(real)
            texts = Generator(real).generate().texts
    assert "typical_p=UNSET if typical_p is None else typical_p" in texts[GENERATED]


def test_a_removed_field_is_asked_about_and_then_gone(real: Path) -> None:
    """Rules that set what is no longer there are named; without them, code does without it."""
    text = (real / SPEC).read_text("utf-8")
    start = text.index("        min_p:\n", text.index("\n    ChatCompletionRequest:\n"))
    end = text.index("\n        ", start + 10)
    while text[end + 9] == " ":
        end = text.index("\n        ", end + 1)
    with edited(real, {SPEC: text[:start] + text[end + 1 :]}):
        found = told(real)
        assert {("no-such-target", CHAT), ("no-such-target", GENERATE)} <= found
        ignored = "  options.min_p: this LM Studio has no such sampler setting any more\n"
        chat = (
            (real / CHAT).read_text("utf-8").replace(RULE, "").replace(IGNORED, ignored + IGNORED)
        )
        generate = (real / GENERATE).read_text("utf-8").replace(RULE, "", 1)
        generate = generate.replace("      ignored:\n", f"      ignored:\n      {ignored}", 1)
        with edited(real, {CHAT: chat, GENERATE: generate}):
            assert set() == told(real)
            texts = Generator(real).generate().texts
    assert "min_p=" not in texts[GENERATED]


def test_a_retyped_field_is_asked_about(real: Path) -> None:
    """A rule that copies a number into what is now a text is named; a transform mends it."""
    text = (real / SPEC).read_text("utf-8")
    start = text.index("        min_p:\n", text.index("\n    ChatCompletionRequest:\n"))
    kind = text.index("type:", start)
    end = text.index("\n", kind)
    with edited(real, {SPEC: text[:kind] + "type: string" + text[end:]}):
        assert {("type-mismatch", CHAT), ("type-mismatch", GENERATE)} <= told(real)
