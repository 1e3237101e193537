"""
Mistakes that a person makes in a mapping file, each seeded alone into the real chat.yaml, or into
a group of shared.yaml that it includes.

Every one is found. The bad files fix the words; here only the check is asked for, so that the
rules may change without the words being written down again.
"""

from pathlib import Path

import pytest

from conformance.tests.codegen.harness import edited, problems_of, replaced

CHAT = "specs/mappings/chat.yaml"
SHARED = "specs/mappings/shared.yaml"

MISSPELT = [
    ("source", "no-such-path", "options.top_p\n", "options.topp\n"),
    (
        "target",
        "no-such-target",
        "      min_p:             options",
        "      minp:              options",
    ),
    ("verb", "unknown-key", "{from: options.seed,", "{form: options.seed,"),
    ("step", "unknown-key", "  - decode:  options", "  - decodes: options"),
    (
        "transform",
        "no-such-transform",
        "options.seed, via: seed_or_absent",
        "options.seed, via: seed_or_abssent",
    ),
    (
        "result",
        "type-mismatch",
        "options.num_predict, via: positive_or_absent",
        "options.num_predict, via: to_json_text",
    ),
    ("argument", "transform-args", "asks_to_think, with: {think:", "asks_to_think, with: {thinks:"),
    ("shape", "no-such-shape", "use: tool, when", "use: tools, when"),
    ("table", "no-such-table", "table: done_reason", "table: done_reasons"),
    ("state", "no-such-path", "$state.eval_tokens,", "$state.eval_token,"),
    ("context", "no-such-path", "$context.asked.full", "$context.asked.fool"),
    ("constant", "bad-value", "done_reason: {value: load}", "done_reason: {value: loaded}"),
    ("capability", "unknown-capability", "- need:    tools", "- need:    tool"),
    ("deed", "unknown-step", "  - do:      acquire", "  - do:      aquire"),
    ("answer", "no-such-answer", "  - answer:  unload", "  - answer:  unlaod"),
    ("call", "no-such-call", "  - call:    chat", "  - call:    chats"),
    (
        "operation",
        "no-such-operation",
        "operation: post /v1/chat/completions",
        "operation: post /v1",
    ),
    ("type", "no-such-type", "to:   openai:ChatCompletionRequest", "to:   openai:ChatRequest"),
    ("ignored", "stale-ignore", "  options.num_keep: ", "  options.num_keeps:"),
    ("event", "bad-value", "- event: end", "- event: ends"),
]

MISSING = [
    (
        "required-field",
        "target-uncovered",
        "      model:          $context.model.request_key\n",
        "",
    ),
    ("default", "maybe-absent", "use: message, default: []}", "use: message}"),
    (
        "argument",
        "transform-args",
        "{since: $context.started_ns, until: $context.loaded",
        "{until: $context.loaded",
    ),
    ("otherwise", "open-without-otherwise", "{otherwise: true, reject:", "{equals: xml, reject:"),
    ("words", "unknown-key", '    illegal: {status: 400, error: "invalid model name"}\n', ""),
    ("field-of-the-fold", "fold-missing", "        - load_duration\n", ""),
    ("reason", "thin-reason", "a draft model is chosen in LM Studio, not by a request", "n/a"),
    ("decision", "source-unmapped", "      seed:              {from: options.seed, via:", "#"),
]

MISTAKEN = [
    ("type", "type-mismatch", "options.temperature\n", "options.stop\n"),
    ("constant", "bad-value", "done:       {value: false}", "done:       {value: 'no'}"),
    ("bounds", "bad-value", "{between: [top_logprobs, 0, 20]}", "{between: [top_logprobs, 20]}"),
    (
        "list",
        "type-mismatch",
        "logprobs:   {each: choices.0.logprobs.content",
        "logprobs:   {each: id",
    ),
    (
        "object",
        "type-mismatch",
        "stream:         $context.asks_for_stream",
        "stream:         {fields: {}}",
    ),
    (
        "verbs",
        "unknown-key",
        "{from: stream, default: true}\n    stream:",
        "{from: stream, value: true}\n    stream:",
    ),
    (
        "ignored",
        "stale-ignore",
        "      options.typical_p: ",
        "      options.top_p: same\n      options.typical_p: ",
    ),
    (
        "twice",
        "bad-yaml",
        "      top_p:             options",
        "      seed: options.top_p\n      top_p:             options",
    ),
]

UNUSED = [
    ("answer", "unused-answer", "answers:\n", "answers:\n  again: {like: load}\n"),
    (
        "state",
        "unused-state",
        "      like: spoken\n",
        "      like: spoken\n      state:\n        spent: {last: usage.prompt_tokens}\n",
    ),
    (
        "table",
        "unused-table",
        "\ninclude: [",
        "\ntables:\n  t: {rows: {a: b}, otherwise: c}\n\ninclude: [",
    ),
]

OF_ORDER = [
    ("need-first", "need-before-model", "  - need:    completion\n", "  - model:   model\n"),
    ("hold-first", "do-before-model", "  - do:      acquire\n", "  - model:   model\n"),
    ("call-first", "call-before-model", "  - call:    chat\n", "  - model:   model\n"),
    ("call-early", "unreachable-step", "  - call:    chat\n", "  - decode:  options\n"),
    ("decode-late", "late-not-decoded", "  - decode:  options\n", "  - call:    chat\n"),
    ("name-early", "model-unresolved", "  - need:    tools\n", "  - model:   model\n"),
]

IN_SHARED = [
    ("missing-catch-all", "no-catch-all", "  - {otherwise: true, as:", "  - {status: 599, as:"),
    ("missing-otherwise", "table-not-total", "    otherwise: stop\n", ""),
    ("misspelt-row", "bad-row", "rows: {length: length}", "rows: {length: lenght}"),
    ("misspelt-fault", "bad-row", "fault: unknown_endpoint", "fault: unknown_endpoints"),
    ("misspelt-recovery", "unknown-step", "no model loaded, do: load", "no model loaded, do: laod"),
    ("misspelt-field", "no-such-target", "tool_call_id: tool_call_id", "tool_call: tool_call_id"),
    ("dropped-field", "internal-unread", "      name:         tool_name\n", ""),
]


def seeded(*tables: list[tuple[str, str, str, str]]) -> pytest.MarkDecorator:
    """Parametrize a test over mistakes: name, check, and two texts."""
    rows = [row for table in tables for row in table]
    return pytest.mark.parametrize(
        ("check", "old", "new"), [row[1:] for row in rows], ids=[row[0] for row in rows]
    )


def checks_of(real: Path, name: str, text: str) -> set[str]:
    """Return which checks find something when a file is as given."""
    with edited(real, {name: text}):
        return {problem.check for problem in problems_of(real)}


def checks_after(real: Path, old: str, new: str) -> set[str]:
    """Return which checks find something with a text exchanged, in chat.yaml or in a group."""
    name = CHAT if old in (real / CHAT).read_text(encoding="utf-8") else SHARED
    return checks_of(real, name, replaced(real, name, old, new))


@seeded(MISSPELT)
def test_a_misspelt_word_is_found(check: str, old: str, new: str, real: Path) -> None:
    """Names of every kind are looked up: none is taken on trust."""
    assert check in checks_after(real, old, new)


@seeded(MISSING)
def test_what_is_missing_is_found(check: str, old: str, new: str, real: Path) -> None:
    """What a rule leaves out and the types ask for is told."""
    assert check in checks_after(real, old, new)


@seeded(MISTAKEN)
def test_what_is_mistaken_is_found(check: str, old: str, new: str, real: Path) -> None:
    """What is spelt well and means something else is told."""
    assert check in checks_after(real, old, new)


@seeded(UNUSED)
def test_what_is_unused_is_found(check: str, old: str, new: str, real: Path) -> None:
    """Rules that nothing names are dead, and told."""
    assert check in checks_after(real, old, new)


@seeded(OF_ORDER)
def test_a_step_out_of_order_is_found(check: str, old: str, new: str, real: Path) -> None:
    """A step that needs what only a later one gives is told; `new` is the step it now precedes."""
    text = (real / CHAT).read_text(encoding="utf-8")
    start = text.index(old)
    end = min(at for word in ("  - ", "\n\n") if (at := text.find(word, start + 4)) > 0)
    step = text[start:end].rstrip("\n") + "\n"
    rest = text.replace(step, "", 1)
    at = rest.index(new)

    assert check in checks_of(real, CHAT, rest[:at] + step + rest[at:])


@seeded(IN_SHARED)
def test_a_mistake_in_shared_rules_is_found(check: str, old: str, new: str, real: Path) -> None:
    """What all mappings share is checked as their own rules are."""
    assert check in checks_of(real, SHARED, replaced(real, SHARED, old, new))
