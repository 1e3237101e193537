"""
The rule language as data: every construct, its keys, and what each key holds.

The reader of rules takes its known keys from here and the JSON Schema for editors is printed from
here, so the language has one definition. A kind is one of: `word`, `path`, `paths` (one or a
list), `constant`, `flag`, `status`, `any`; the name of a construct; `map:KIND`; `list:KIND`;
`A|B` for alternatives.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One key of a construct."""

    kind: str
    meaning: str
    required: bool = False


Construct = dict[str, Entry]

GRAMMAR: dict[str, Construct] = {
    "file": {
        "mapping": Entry(
            "word", "the mapping's name, which is also its file's stem", required=True
        ),
        "client": Entry("client", "the operation of ours that this mapping serves"),
        "plan": Entry("list:step", "what happens for a request, in order"),
        "answers": Entry("map:answer", "one-object answers that steps name"),
        "calls": Entry("map:call", "upstream calls that steps name"),
        "reports": Entry("map:report", "progress told line by line, that steps name"),
        "shapes": Entry("map:shape", "object translations that `use:` names"),
        "tables": Entry("map:table", "value translations that `table:` names"),
        "streams": Entry("map:stream_base", "what several streams share, which `like:` names"),
        "errors": Entry("list:error_row", "what an upstream failure becomes for the client"),
        "recover": Entry(
            "list:recover_row", "which upstream failures are worth a load and a retry"
        ),
        "ignored": Entry("map:reason", "request fields that no call of this file uses, and why"),
        "omitted": Entry("map:reason", "answer fields that this file never produces, and why"),
        "unanswered": Entry("map:reason", "documented statuses that nothing here answers, and why"),
    },
    "client": {
        "api": Entry("word", "the spec's name", required=True),
        "operation": Entry("word|list:word", "`method /path`, or a list of them", required=True),
    },
    "upstream": {
        "api": Entry("word", "the spec's name", required=True),
        "operation": Entry("word", "`method /path`", required=True),
    },
    "step": {
        "check": Entry("condition", "go on only when this holds"),
        "model": Entry("paths", "resolve the model named by the first of these fields"),
        "need": Entry("word", "refuse when the model is known to lack this capability"),
        "decode": Entry("path", "decode a late value in its second stage"),
        "answer": Entry("word", "end here with this answer; with `do`, after that step"),
        "do": Entry("word", "run a step of `gateway.engine.steps`"),
        "call": Entry("word|list:choice", "end here with this upstream call"),
        "report": Entry("word", "end here with this progress"),
        "refuse": Entry("refusal", "end here with an error"),
        "when": Entry("condition", "take the step only when this holds"),
        "else": Entry("refusal", "the error when a check or need fails"),
        "missing": Entry("refusal", "the error for an absent or blank model name"),
        "illegal": Entry("refusal", "the error for a name outside the grammar"),
        "unknown": Entry("refusal", "the error for a name that no model has"),
        "cloud": Entry("refusal", "the error for a name of a model on ollama.com"),
        "conflict": Entry("refusal", "the error for a name that says both here and ollama.com"),
        "match_case": Entry("flag", "a name in another letter case is unknown"),
        "trust_loaded": Entry("flag", "a model seen loaded a while ago is looked at later"),
        "status": Entry("status", "the status of a refused late value"),
        "via": Entry("word", "a transform that the decoded late value passes through"),
        "with": Entry("map:argument", "named arguments of a transform or step"),
    },
    "choice": {
        "call": Entry("word", "the call's name", required=True),
        "when": Entry("condition", "take it only when this holds"),
    },
    "refusal": {
        "status": Entry("status", "the HTTP status", required=True),
        "error": Entry("word", "Ollama's text; braces name paths", required=True),
        "late": Entry("flag", "sent as what Ollama finds once its stream is set up: no charset"),
    },
    "condition": {
        "empty": Entry("paths", "absent, null, an empty text or an empty list (all of them)"),
        "nonempty": Entry("paths", "any of them has content"),
        "present": Entry("paths", "any of them is there and not null"),
        "absent": Entry("paths", "all of them are absent or null"),
        "true": Entry("path", "is exactly true"),
        "equals": Entry("list:any", "`[path, constant]`"),
        "between": Entry("list:any", "`[path, low, high]`, both included; absent passes"),
        "via": Entry("word", "a transform that answers yes or no, or names a problem in a check"),
        "with": Entry("map:argument", "its arguments"),
    },
    "answer": {
        "to": Entry("word", "the answer's type; the operation's own when left out"),
        "like": Entry("word", "start from another answer of this file"),
        "fields": Entry("map:rule", "its fields"),
        "text": Entry("word", "a plain text answer"),
        "empty": Entry("flag", "no body at all"),
        "status": Entry("status", "the answer's status; 200 when left out"),
        "omitted": Entry("map:reason", "fields of the target that are never produced, and why"),
    },
    "call": {
        "upstream": Entry("upstream", "the operation called", required=True),
        "request": Entry("block", "how its body is made"),
        "streamed": Entry("rule", "whether this client wants frames; a fold of them otherwise"),
        "stream": Entry("stream", "how its chunks become frames"),
        "response": Entry("block", "how its one answer becomes ours"),
    },
    "report": {
        "do": Entry(
            "word", "the step of `gateway.engine.steps` that yields records", required=True
        ),
        "streamed": Entry("rule", "whether this client wants frames; the last alone otherwise"),
        "from": Entry("word", "a record's type", required=True),
        "to": Entry("word", "a frame's type", required=True),
        "fields": Entry("map:rule", "the frame's fields", required=True),
        "omitted": Entry("map:reason", "frame fields that are never produced, and why"),
    },
    "block": {
        "from": Entry("word", "the source's type", required=True),
        "to": Entry("word", "the target's type", required=True),
        "fields": Entry("map:rule", "the target's fields"),
        "ignored": Entry("map:reason", "source fields left out on purpose, and why"),
        "omitted": Entry("map:reason", "target fields that are never produced, and why"),
    },
    "stream": {
        "like": Entry("word", "start from what a file's `streams`, or shared.yaml's, has there"),
        "from": Entry("word", "the chunk's type"),
        "to": Entry("word", "the frame's type", required=True),
        "state": Entry("map:state", "what is remembered from chunk to chunk"),
        "complete": Entry("condition", "what must be known for the end to be a regular one"),
        "emit": Entry("list:emit", "which frames, when", required=True),
        "fold": Entry("fold", "the one-shot answer from the frames"),
        "ignored": Entry("map:reason", "chunk fields left out on purpose, and why"),
        "omitted": Entry("map:reason", "frame fields that are never produced, and why"),
    },
    "stream_base": {
        "from": Entry("word", "the chunk's type", required=True),
        "state": Entry("map:state", "what is remembered from chunk to chunk"),
        "complete": Entry("condition", "what must be known for the end to be a regular one"),
        "ignored": Entry("map:reason", "chunk fields left out on purpose, and why"),
    },
    "state": {
        "last": Entry("path", "keep the last value seen"),
        "fold": Entry("path", "feed each value to a transform with what it returned before"),
        "via": Entry("word", "the transform of a fold; its first parameter is what it returned"),
        "with": Entry("map:argument", "the other arguments of a fold"),
    },
    "emit": {
        "event": Entry("word", "`chunk` or `end`", required=True),
        "when": Entry("condition", "only then"),
        "fields": Entry("map:rule", "the frame's fields", required=True),
    },
    "fold": {
        "concat": Entry("list:path", "texts joined over all frames"),
        "append": Entry("list:path", "lists joined over all frames"),
        "last": Entry("list:path", "taken from the last frame"),
    },
    "shape": {
        "from": Entry("word", "the source's type", required=True),
        "to": Entry("word", "the target's type", required=True),
        "fields": Entry("map:rule", "the target's fields", required=True),
        "ignored": Entry("map:reason", "source fields left out on purpose, and why"),
        "omitted": Entry("map:reason", "target fields that are never produced, and why"),
    },
    "rule": {
        "from": Entry("path", "copy"),
        "default": Entry("any", "used when the source is absent or null"),
        "value": Entry("any", "a constant"),
        "fields": Entry("map:rule", "build an object"),
        "each": Entry("path", "map a list through a shape"),
        "use": Entry("word", "the shape"),
        "match": Entry("path", "choose by constant or JSON type"),
        "cases": Entry("list:rule_case", "the cases"),
        "table": Entry("word", "translate by a value table"),
        "via": Entry("word", "call a transform"),
        "with": Entry("map:argument", "its named arguments"),
        "when": Entry("condition", "leave the field out unless"),
    },
    "rule_case": {
        "equals": Entry("constant", "when the value is this"),
        "type": Entry("word", "when the value is of this JSON type"),
        "otherwise": Entry("flag", "in all other cases"),
        "absent": Entry("flag", "leave the field out"),
        "reject": Entry("refusal", "answer with an error"),
        "from": Entry("path", "copy"),
        "value": Entry("any", "a constant"),
        "fields": Entry("map:rule", "build an object"),
        "via": Entry("word", "call a transform"),
        "with": Entry("map:argument", "its named arguments"),
    },
    "constant_argument": {
        "value": Entry("any", "a constant", required=True),
    },
    "table": {
        "from": Entry("word", "`api:Component.path` whose values are translated"),
        "to": Entry("word", "`api:Component.path` whose vocabulary is met"),
        "rows": Entry("map:word", "source word: target word", required=True),
        "otherwise": Entry("word", "for every other word"),
    },
    "error_row": {
        "status": Entry("any", "one status, a list of them, or a class such as 5xx"),
        "code": Entry("word", "the upstream's error code"),
        "fault": Entry("word|list:word", "a fault of transport or protocol"),
        "message": Entry("word", "words that the upstream's message contains, any case"),
        "otherwise": Entry("flag", "everything else"),
        "as": Entry("status", "the status for the client", required=True),
        "error": Entry("word", "the text; braces name paths", required=True),
    },
    "recover_row": {
        "message": Entry("word", "words that the upstream's message contains, any case"),
        "code": Entry("word", "the upstream's error code"),
        "do": Entry("word", "the recovery", required=True),
    },
    "reason": {
        "reason": Entry("word", "why", required=True),
        "handled_by": Entry("word", "who deals with it instead"),
    },
}

SHORTHANDS: dict[str, str] = {
    "rule": "path",
    "argument": "path|constant_argument",
    "reason": "word",
}
"""Constructs that may be written as a plain word, and what that word then is."""

EXCLUSIVE: dict[str, tuple[tuple[str, ...], ...]] = {
    "rule": (
        ("from", "value", "fields", "each", "match"),
        *((verb, "via") for verb in ("value", "fields", "match")),
        *((verb, "table") for verb in ("value", "fields", "each", "match")),
        *((verb, "default") for verb in ("value", "fields")),
    ),
    "rule_case": (
        ("equals", "type", "otherwise"),
        ("absent", "reject", "from", "value", "fields"),
        ("absent", "via"),
    ),
    "step": (
        ("check", "model", "need", "decode", "answer", "call", "report", "refuse"),
        ("check", "model", "need", "decode", "do", "call", "report", "refuse"),
    ),
    "state": (
        ("last", "fold"),
        ("last", "via"),
    ),
    "call": (("stream", "response"), ("streamed", "response")),
    "stream": (("like", "from"),),
    "answer": (
        ("text", "fields"),
        *((word, other) for word in ("text", "empty") for other in ("like", "to")),
        ("empty", "fields"),
        ("empty", "text"),
    ),
    "error_row": (
        ("status", "fault", "otherwise"),
        ("otherwise", "code"),
        ("otherwise", "message"),
    ),
}
"""Keys that can't stand together in one construct."""

COMPANIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "rule": {"use": ("each",), "cases": ("match",), "with": ("via",)},
    "rule_case": {"with": ("via",)},
    "condition": {"with": ("via",)},
    "state": {"with": ("via",), "fold": ("via",)},
    "step": {
        "when": ("check", "need", "answer", "do", "call", "report", "refuse"),
        "else": ("check", "need"),
        "missing": ("model",),
        "illegal": ("model",),
        "unknown": ("model",),
        "cloud": ("model",),
        "conflict": ("model",),
        "match_case": ("model",),
        "trust_loaded": ("model",),
        "status": ("decode",),
        "via": ("decode",),
        "with": ("do", "report", "via"),
    },
}
"""Keys that mean something only beside one of others."""

FORMS: dict[str, str] = {
    "word": "a word",
    "path": "a path",
    "constant": "a constant",
    "flag": "`true`, or left out",
    "status": "a status from 100 to 599",
    "map": "a mapping",
    "list": "a list",
}
"""How each kind is called in a problem."""


def alternatives(kind: str) -> tuple[str, ...]:
    """
    Return the kinds that a value of this kind may have, each without alternatives.

    >>> alternatives("paths"), alternatives("map:rule")
    (('path', 'list:path'), ('map:rule',))
    """
    kinds: list[str] = []
    for part in kind.split("|"):
        if part == "paths":
            kinds += ["path", "list:path"]
        elif part == "argument":
            kinds += alternatives(SHORTHANDS[part])
        elif part in SHORTHANDS:
            kinds += [SHORTHANDS[part], part]
        else:
            kinds.append(part)
    return tuple(kinds)


def json_schema() -> dict[str, object]:
    """Return the JSON Schema of a mapping file, for editors to complete and check."""
    definitions: dict[str, object] = {}
    for name, construct in GRAMMAR.items():
        body: dict[str, object] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                key: {**_schema(entry.kind), "description": entry.meaning}
                for key, entry in construct.items()
            },
        }
        required = [key for key, entry in construct.items() if entry.required]
        if required:
            body["required"] = required
        definitions[name] = body
    definitions["argument"] = _schema("path|constant_argument")
    for name in ("rule", "reason"):
        definitions[name] = {"anyOf": [{"type": "string"}, definitions[name]]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": (
            "Generated by codegen from codegen/rules/grammar.py. Do not edit; run `nox -s codegen`."
        ),
        "title": "olgate mapping rules",
        "$ref": "#/$defs/file",
        "$defs": definitions,
    }


def _schema(kind: str) -> dict[str, object]:
    if "|" in kind:
        return {"anyOf": [_schema(part) for part in kind.split("|")]}
    head, _, item = kind.partition(":")
    match head:
        case "map":
            return {"type": "object", "additionalProperties": _schema(item)}
        case "list":
            return {"type": "array", "items": _schema(item)}
        case "word" | "path":
            return {"type": "string"}
        case "paths":
            return _schema("path|list:path")
        case "flag":
            return {"const": True}
        case "status":
            return {"type": "integer", "minimum": 100, "maximum": 599}
        case "constant":
            return {"type": ["string", "number", "boolean", "null"]}
        case "any":
            return {}
        case _:
            return {"$ref": f"#/$defs/{kind}"}
