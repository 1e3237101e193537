"""
Schemathesis over specs/ollama.yaml: what an answer must keep whatever is asked.

This module has the tested copy of the spec, the settings, the checks beyond the built-in ones, and
the reading of a run. The tests choose the operations and the number of calls that must reach LM
Studio.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import schemathesis
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import Interaction, ScenarioRecorder

from conformance.suite.known import KnownFailing
from conformance.suite.source import read_yaml
from conformance.suite.spec import NDJSON, SPEC

Document = dict[str, Any]

METHODS = ("head", "get", "post", "put", "patch", "delete", "options", "trace")
SEED = 7
PHASES = ("examples", "coverage")
Mode = Literal["all", "positive"]

# Only a failing upstream explains these, and the stand-in does not fail.
TROUBLE = {"429", "502", "503", "504"}
# The placeholders of the spec's examples, and the kind of model that each stands for.
PLACEHOLDERS = {
    "harbor/tiny-chat-4b": "llm",
    "harbor/tiny-embed": "embedding",
    "harbor/pilot": "llm",
}
# Where any text is lawful, what a client would send: without these, tools have no sensible calls.
USUAL = {
    "ToolParameters": {"type": "object"},
    "ToolFunction": {"name": "high_tide"},
    "Tool": {"type": "function"},
    "Message": {"role": "user", "content": "Good morning!"},
}


# -- the copy of the spec -------------------------------------------------------------------------


@cache
def read_document() -> Document:
    """Return specs/ollama.yaml as plain values; not to be changed, there is one for all."""
    document: Document = read_yaml(SPEC).value
    return document


def copy_for(
    document: Document, names: Mapping[str, Sequence[str]], *, streamed: bool = True
) -> Document:
    """
    Return the copy that is tested: the spec, with what it says in words only said in schemas.

    `names` are the models by kind (`llm`, `embedding`), the most capable first. Examples use that
    one, and every `model` is one of them: with other names no call would go further than 404.
    With `streamed` false all examples ask for one object, and so do the cases made from them.
    Nulls in lists are as lawful as elsewhere (docs/facts/ollama.md#bodies-json). Our answers are
    closed against undeclared keys.
    """
    changed = copy.deepcopy(document)
    for operation in _operations(changed).values():
        for media in operation.get("requestBody", {}).get("content", {}).values():
            for example in media.get("examples", {}).values():
                example["value"] = _rename(example["value"], names)
                if not streamed:
                    example["value"]["stream"] = False
    asked = _reachable(changed, [item.get("requestBody") for item in _operations(changed).values()])
    given = _reachable(changed, [item["responses"] for item in _operations(changed).values()])
    for name, schema in changed["components"]["schemas"].items():
        if name in asked:
            _offer_names(name, schema, names)
            _say_in_schemas(schema)
            _allow_nulls_in_lists(schema)
            for key, value in USUAL.get(name, {}).items():
                schema["properties"][key]["examples"] = [value]
        elif name in given:
            _close(schema)
    return changed


def _operations(document: Document) -> dict[str, dict[str, Any]]:
    return {
        item[method]["operationId"]: item[method]
        for item in document["paths"].values()
        for method in METHODS
        if method in item
    }


def operation_ids(document: Document) -> list[str]:
    """Return the ids of all operations."""
    return list(_operations(document))


def _rename(value: Any, names: Mapping[str, Sequence[str]]) -> Any:
    match value:
        case dict():
            return {key: _rename(item, names) for key, item in value.items()}
        case list():
            return [_rename(item, names) for item in value]
        case str():
            name, _, tag = value.partition(":")
            kind = PLACEHOLDERS.get(name)
            return value if kind is None else names[kind][0] + (f":{tag}" if tag else "")
        case _:
            return value


_NAMES_OF_THEIR_OWN = ("CreateRequest", "DeleteRequest", "PullRequest", "PushRequest")
"""Requests whose `model` need not be there, so that no name is an invalid one."""


def _offer_names(
    component: str, schema: dict[str, Any], names: Mapping[str, Sequence[str]]
) -> None:
    model = schema.get("properties", {}).get("model")
    if model is None or component in _NAMES_OF_THEIR_OWN:
        return
    kinds = ("embedding", "llm") if component.startswith("Embed") else ("llm", "embedding")
    model["enum"] = [*(name for kind in kinds for name in names[kind]), None]


def _say_in_schemas(schema: dict[str, Any]) -> None:
    """Allow what notes and descriptions allow, and leave out what no request can be served with."""
    properties = schema.get("properties", {})
    properties.pop("typical_p", None)  # refused whatever its value
    for name, value in properties.items():
        items = value.get("items", {})
        if items.get("x-go-bytes"):
            items["type"] = [*items["type"], "array"]
            items["items"] = {"type": ["integer", "null"], "minimum": 0, "maximum": 255}
        # A model that lists its levels takes any word as one (docs/facts/ollama.md#think-0-34).
        for arm in value.get("oneOf", ()) if name == "think" else ():
            arm.pop("enum", None)


def _allow_nulls_in_lists(schema: Any) -> None:
    for part in _parts(schema):
        items = part.get("items") if part.get("type") != "object" else None
        if not isinstance(items, dict) or "x-refusal" in items:
            continue
        match items.get("type"):
            case str() as kind:
                items["type"] = [kind, "null"]
            case None if "$ref" in items:
                part["items"] = {"oneOf": [items, {"type": "null"}]}


def _close(schema: Any) -> None:
    for part in _parts(schema):
        if isinstance(part.get("properties"), dict):
            part.setdefault("additionalProperties", False)


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and every schema inside it."""
    if not isinstance(schema, dict):
        return
    yield schema
    inner = [schema.get("items"), schema.get("additionalProperties")]
    inner += schema.get("properties", {}).values()
    inner += [choice for word in ("anyOf", "oneOf") for choice in schema.get(word, ())]
    for part in inner:
        yield from _parts(part)


def _reachable(document: Document, roots: Sequence[Any]) -> set[str]:
    """Return the names of the schemas that are referred to, directly or not."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        match waiting.pop():
            case {"$ref": str() as reference}:
                if reference in seen:
                    continue
                seen.add(reference)
                target: Any = document
                for step in reference.removeprefix("#/").split("/"):
                    target = target[step]
                if reference.startswith("#/components/schemas/"):
                    found.add(reference.rpartition("/")[2])
                waiting.append(target)
            case dict() as value:
                waiting += value.values()
            case list() as items:
                waiting += items
    return found


# -- settings -------------------------------------------------------------------------------------


def settings_for(
    document: Document,
    only: Collection[str],
    phases: Collection[str] = PHASES,
    mode: Mode = "all",
    most: int | None = None,
) -> schemathesis.Config:
    """
    Return settings for some operations: every built-in check is on, a declared refusal no failure.

    The statuses are those that each operation declares; what only an upstream in trouble explains
    is left out, so that it fails. The same cases come in every run.
    """
    operations = []
    for name, operation in _operations(document).items():
        declared = [status for status in operation["responses"] if status not in TROUBLE]
        refusals = [status for status in declared if status[0] in "45"]
        faults = [status for status in refusals if status[0] == "5"]
        checks: dict[str, Any] = {
            "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", *faults]},
            "positive_data_acceptance": {"expected-statuses": declared},
            "negative_data_rejection": {"expected-statuses": refusals},
        }
        operations.append({"include-operation-id": name, "enabled": name in only, "checks": checks})
    return schemathesis.Config.from_dict(
        {
            "seed": SEED,
            "continue-on-failure": True,
            "cache": {"enabled": False},
            "generation": {
                "deterministic": True,
                "database": "none",
                "mode": mode,
                **({} if most is None else {"max-examples": most}),
            },
            "phases": {
                phase: {"enabled": phase in phases}
                for phase in ("examples", "coverage", "fuzzing", "stateful")
            },
            "operations": operations,
        }
    )


# -- checks of our own ----------------------------------------------------------------------------


@schemathesis.deserializer(NDJSON)
def read_frames(
    context: schemathesis.DeserializationContext, response: schemathesis.Response
) -> Any:
    """
    Return the lines of a stream as a list of values.

    Raises ValueError for a stream without lines, a blank line, a line without its end, and a line
    that is not JSON.
    """
    *lines, rest = response.content.split(b"\n")
    if rest:
        raise ValueError(f"the last line does not end: {rest[:80]!r}")
    if not lines:
        raise ValueError("a stream without lines")
    frames = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ValueError(f"line {number} of {len(lines)} is blank")
        try:
            frames.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"line {number} is not JSON ({error}): {line[:80]!r}") from error
    return frames


@schemathesis.check
def stream_ends_once(
    context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case[Any],
) -> None:
    """A stream has one end, in its last line, and tells no error that is not stated."""
    if response.headers.get("content-type", [""])[0] != NDJSON:
        return
    try:
        frames = [json.loads(line) for line in response.content.splitlines()]
    except ValueError:
        # What is no line of JSON is reported as a violation of the schema.
        return
    objects = [frame for frame in frames if isinstance(frame, dict)]
    stated = _stated_failures(case)
    errors = [frame["error"] for frame in objects if frame.get("error", "") not in {"", *stated}]
    errors = [error for error in errors if not error.startswith(_QUOTING)]
    assert not errors, f"Error in a stream\n\n{errors[0]}"
    ends = [
        bool(frame.get("done") or frame.get("status") == "success" or "error" in frame)
        for frame in objects
    ]
    wanted = [False] * (len(ends) - 1) + [True]
    assert ends == wanted, f"A stream ends once, in its last line\n\nends: {ends}"


@schemathesis.check
def shapes_are_read(
    context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case[Any],
) -> None:
    """What the spec declares valid is refused for its meaning at most, never for its type."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    text = _error_of(response)
    if _FRACTION_FOR_INTEGER.search(text):
        return
    for sign in ("json: cannot unmarshal", "must be of", "invalid character", "unexpected EOF"):
        assert sign not in text, f"A valid shape was refused\n\n{text}"


_FRACTION_FOR_INTEGER = re.compile(r"unmarshal number \S*[.eE]\S* into Go .* of type u?int")
"""1.0 is an integer to JSON Schema, and none to Go (docs/facts/ollama.md#integers)."""
_QUOTING = ("invalid format: ", "unqualified name: ")
"""Errors that quote what was sent (docs/facts/ollama.md#format, docs/facts/ollama.md#push)."""


def _error_of(response: schemathesis.Response) -> str:
    try:
        body = json.loads(response.content)
    except ValueError:
        return ""
    return str(body.get("error", "")) if isinstance(body, dict) else ""


def _stated_failures(case: schemathesis.Case[Any]) -> set[str]:
    """Return the failures that an operation ends in, as its description says."""
    declared = case.operation.definition.raw["responses"].get("500", {})
    examples = declared.get("content", {}).get("application/json", {}).get("examples", {})
    return {example["value"]["error"] for example in examples.values()}


@schemathesis.check
def faults_are_stated(
    context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case[Any],
) -> None:
    """
    A 500 is a refusal to which Ollama gives that status (docs/facts/ollama.md#format,
    docs/facts/ollama.md#option-errors), or stated.
    """
    if response.status_code != 500:
        return
    schemas = case.operation.schema.raw_schema["components"]["schemas"]
    parts = [part for schema in schemas.values() for part in _parts(schema)]
    refusals = {part["x-refusal"] for part in parts if "x-refusal" in part}
    refusals |= _stated_failures(case)
    text = _error_of(response)
    stated = text in refusals or text.startswith(_QUOTING)
    assert stated, f"A 500 that no rule states\n\n{text or response.content[:200]!r}"


# -- a run ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """What is wrong, by which check, where the request was unusual, and the exchange itself."""

    operation: str
    check: str
    where: str
    what: str
    request: str
    answer: str

    @property
    def name(self) -> str:
        """What a list of known failures calls it by."""
        return f"{self.operation} {self.check} {self.where}"

    def __str__(self) -> str:
        what = "\n      ".join(line for line in self.what.splitlines() if line.strip())
        return f"{self.name}: {what}\n      {self.request}\n      -> {self.answer}"


@dataclass
class Account:
    """
    What a run did: answers by status, answers by the checks that were made of them, everything
    found, and what the engine could not do.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """How many requests were answered."""
        return self.statuses.total()

    @property
    def failed_checks(self) -> set[str]:
        """The names of the checks that found something."""
        return {finding.check for finding in self.findings}

    def report(self, known: KnownFailing | None = None, most: int = 12) -> str:
        """Return the first findings that are not known, as text; empty when there are none."""
        known = known or KnownFailing()
        news = [finding for finding in self.findings if known.find(finding.name) is None]
        lines = [f"  engine: {trouble}" for trouble in self.troubles]
        lines += [f"  {finding}" for finding in news[:most]]
        if len(news) > most:
            lines.append(f"  and {len(news) - most} more")
        return "\n".join(lines)


def run_operation(
    url: str,
    document: Document,
    operation: str,
    phases: Collection[str] = PHASES,
    mode: Mode = "all",
) -> Account:
    """Run the phases for one operation of the (copied) spec against the gateway at an address."""
    settings = settings_for(document, [operation], phases, mode)
    schema = schemathesis.openapi.from_dict(document, config=settings)
    schema.config.update(base_url=url)
    account = Account()
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                account_for(account, operation, event.recorder)
            case events.NonFatalError():
                account.troubles.append(f"{event.label}: {event.info.message}")
            case events.FatalError():
                account.troubles.append(repr(event.exception))
            case events.SchemaAnalysisWarnings():
                account.troubles += [warning.message for warning in event.warnings]
    return account


def account_for(account: Account, operation: str, recorder: ScenarioRecorder) -> None:
    """Add what a scenario did to an account, under an operation's name."""
    for case, interaction in recorder.interactions.items():
        if interaction.response is None:
            account.troubles.append(f"no answer to {_request_of(interaction)}")
        else:
            account.statuses[interaction.response.status_code] += 1
        made = recorder.checks.get(case, ())
        account.checks.update({node.name for node in made})
        for node in made:
            if node.failure_info is not None:
                failure = node.failure_info.failure
                account.findings.append(
                    Finding(
                        operation,
                        node.name,
                        _where(recorder.cases[case].value),
                        f"{failure.title}\n{failure.message}",
                        _request_of(interaction),
                        _answer_of(interaction),
                    )
                )


def _where(case: schemathesis.Case[Any]) -> str:
    data = case.meta.phase.data if case.meta is not None else None
    return str(getattr(data, "description", None) or "anywhere")


def _request_of(interaction: Interaction) -> str:
    request = interaction.request
    return f"{request.method} {request.uri} {_show(request.body)}"


def _answer_of(interaction: Interaction) -> str:
    response = interaction.response
    return "nothing" if response is None else f"{response.status_code} {_show(response.content)}"


def _show(body: bytes | None, most: int = 400) -> str:
    text = (body or b"").decode("utf-8", "replace")
    return text if len(text) <= most else f"{text[:most]}..."


def find_too_few(paths: Iterable[str], path: str, least: int) -> str | None:
    """Return a complaint when a path was asked of LM Studio less often than expected."""
    calls = sum(one == path for one in paths)
    if calls >= least:
        return None
    return (
        f"{calls} requests reached LM Studio's {path}, at least {least} are expected: "
        "look at which refusals the others ended with"
    )
