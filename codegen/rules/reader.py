"""
Mapping files as data: dataclasses that mirror the grammar, each knowing where it stands.

Reading checks the form only (known keys, kinds, exclusive verbs); whether paths and types fit the
specs is decided where rules are compiled.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from codegen.descriptions.problem import Findings, Position, did_you_mean
from codegen.descriptions.source import Key, Mapping, Scalar, Sequence, Value, load, plain
from codegen.rules.grammar import COMPANIONS, EXCLUSIVE, FORMS, GRAMMAR, alternatives
from codegen.rules.model import (
    SHARED,
    AnswerRule,
    Argument,
    Block,
    CallRule,
    Case,
    Condition,
    Constant,
    Emit,
    ErrorRow,
    Fold,
    MappingFile,
    PathRef,
    Reason,
    RecoverRow,
    Refusal,
    ReportRule,
    Rule,
    Shape,
    StateRule,
    Step,
    Stream,
    Table,
)

THIN_REASONS = (
    "",
    "n/a",
    "na",
    "none",
    "no",
    "todo",
    "unsupported",
    "not supported",
    "unused",
    "ignored",
    "-",
)

VALUE_VERBS = ("from", "value", "fields", "each", "match", "via")


def read_mappings(folder: Path, root: Path, findings: Findings) -> list[MappingFile]:
    """Read every mapping file of a folder, in the order of their names."""
    return [
        _Reader(findings).file(load(path, root, findings), path.relative_to(root).as_posix())
        for path in sorted(folder.glob("*.yaml"))
    ]


def share_streams(files: list[MappingFile], findings: Findings) -> list[MappingFile]:
    """Fill every stream that says `like` with what it starts from; report what nothing names."""
    shared = next((file.streams for file in files if file.name == SHARED), {})
    used: set[int] = set()

    def filled(file: MappingFile, stream: Stream | None) -> Stream | None:
        if stream is None or stream.like is None:
            return stream
        known = {**shared, **file.streams}
        base = known.get(stream.like)
        if base is None:
            findings.add(
                "no-such-stream",
                stream.like_position or stream.block.position,
                f"`{stream.like}` is no stream here",
                hint=did_you_mean(stream.like, known),
            )
            return None
        used.add(id(base))
        return replace(
            stream,
            block=replace(
                stream.block,
                source=base.block.source,
                source_position=base.block.source_position,
                ignored={**base.block.ignored, **stream.block.ignored},
            ),
            state={**base.state, **stream.state},
            complete=stream.complete or base.complete,
        )

    merged = [
        replace(
            file,
            calls={
                name: replace(call, stream=filled(file, call.stream))
                for name, call in file.calls.items()
            },
        )
        for file in files
    ]
    for file in files:
        for name, base in file.streams.items():
            if id(base) not in used:
                findings.add("unused-stream", base.block.position, f"no stream says `like: {name}`")
    return merged


class _Reader:
    """Turns positioned YAML into rules; what has the wrong form is reported and left out."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def file(self, node: Mapping, file: str) -> MappingFile:
        is_readable = node.entries or all(
            problem.position.file != file for problem in self._findings.problems
        )
        if is_readable:
            self._check_keys(node, "file")
        name = self._word(node, "mapping")
        if name is not None and name != Path(file).stem:
            self._findings.add(
                "bad-value",
                self._place(node, "mapping"),
                f"`mapping` must be `{Path(file).stem}`, as the file",
            )
        if "plan" in node and "client" not in node:
            self._findings.add(
                "unknown-key",
                node.key("plan").position,
                "a `plan` needs a `client`, the operation that it serves",
            )
        client = self._mapping(node, "client")
        operations: list[tuple[str, Position]] = []
        api = None
        if client is not None:
            self._check_keys(client, "client")
            api = self._word(client, "api")
            operations = self._words(client, "operation")
        plan = node.get("plan")
        errors, ignored = node.get("errors"), node.get("ignored")
        return MappingFile(
            name=Path(file).stem,
            file=file,
            position=node.position,
            api=api,
            operations=tuple(operations),
            plan=tuple(self._step(item) for item in self._list(node, "plan")),
            plan_position=plan.position if plan else node.position,
            answers={k.text: self._answer(k, m) for k, m in self._named(node, "answers")},
            calls={k.text: self._call(k, m) for k, m in self._named(node, "calls")},
            reports={k.text: self._report(k, m) for k, m in self._named(node, "reports")},
            shapes={k.text: self._shape(k, m) for k, m in self._named(node, "shapes")},
            tables={k.text: self._table(k, m) for k, m in self._named(node, "tables")},
            streams={k.text: self._stream_base(k, m) for k, m in self._named(node, "streams")},
            errors=tuple(self._error_row(item) for item in self._list(node, "errors")),
            errors_position=errors.position if errors else node.position,
            recover=tuple(self._recover_row(item) for item in self._list(node, "recover")),
            ignored=self._reasons(node, "ignored"),
            ignored_position=ignored.position if ignored else node.position,
            omitted=self._reasons(node, "omitted"),
            unanswered=self._reasons(node, "unanswered"),
        )

    # -- constructs ---------------------------------------------------------------------------

    def _step(self, node: Mapping) -> Step:
        self._check_keys(node, "step")
        verbs = (*EXCLUSIVE["step"][0], "do")
        kind = next((verb for verb in verbs if verb in node), "")
        if not kind:
            self._findings.add(
                "unknown-step", node.position, "a step needs one of " + ", ".join(verbs)
            )
        condition = self._condition(node, "check")
        choices: list[tuple[str, Position, Condition | None]] = []
        name = ""
        value = node.get(kind) if kind else None
        if kind == "call" and isinstance(value, Sequence):
            for item in self._list(node, "call"):
                self._check_keys(item, "choice")
                choices.append(
                    (self._word(item, "call") or "", item.position, self._condition(item, "when"))
                )
        elif kind in ("need", "do", "answer", "call", "report"):
            name = self._word(node, kind) or ""
            if kind == "call":
                choices.append((name, self._place(node, kind), None))
        return Step(
            kind=kind,
            position=node.position,
            condition=condition,
            paths=self._paths(node, kind) if kind in ("model", "decode") else (),
            name=name,
            do=self._word(node, "do") if kind == "answer" else None,
            choices=tuple(choices),
            refusal=self._refusal(node, "refuse"),
            when=self._condition(node, "when"),
            otherwise=self._refusal(node, "else"),
            missing=self._refusal(node, "missing"),
            illegal=self._refusal(node, "illegal"),
            unknown=self._refusal(node, "unknown"),
            cloud=self._refusal(node, "cloud"),
            conflict=self._refusal(node, "conflict"),
            match_case="match_case" in node,
            trust_loaded="trust_loaded" in node,
            status=self._integer(node, "status"),
            via=self._word(node, "via"),
            arguments=self._arguments(node) or {},
        )

    def _answer(self, key: Key, node: Mapping) -> AnswerRule:
        self._check_keys(node, "answer")
        fields, names = self._rules(node, "fields")
        return AnswerRule(
            name=key.text,
            position=key.position,
            target=self._word(node, "to"),
            like=self._word(node, "like"),
            text=self._word(node, "text"),
            is_empty="empty" in node,
            status=self._integer(node, "status") or 200,
            fields=fields,
            names=names,
            omitted=self._reasons(node, "omitted"),
        )

    def _report(self, key: Key, node: Mapping) -> ReportRule:
        self._check_keys(node, "report")
        streamed = node.get("streamed")
        return ReportRule(
            name=key.text,
            position=key.position,
            do=self._word(node, "do") or "",
            streamed=self._rule(streamed) if streamed is not None else None,
            block=self._block(node, None),
        )

    def _call(self, key: Key, node: Mapping) -> CallRule:
        self._check_keys(node, "call")
        upstream = self._mapping(node, "upstream") or Mapping({}, node.position)
        self._check_keys(upstream, "upstream")
        request = self._mapping(node, "request")
        stream = self._mapping(node, "stream")
        response = self._mapping(node, "response")
        streamed = node.get("streamed")
        return CallRule(
            name=key.text,
            position=key.position,
            api=self._word(upstream, "api") or "",
            operation=self._word(upstream, "operation") or "",
            operation_position=self._place(upstream, "operation"),
            request=self._block(request, "block") if request else None,
            streamed=self._rule(streamed) if streamed and _is_rule(streamed) else None,
            stream=self._stream(stream) if stream else None,
            response=self._block(response, "block") if response else None,
        )

    def _stream(self, node: Mapping) -> Stream:
        self._check_keys(node, "stream")
        if "like" not in node and "from" not in node:
            self._findings.add("unknown-key", node.position, "this stream lacks `from` or `like`")
        emits = []
        for item in self._list(node, "emit"):
            self._check_keys(item, "emit")
            fields, names = self._rules(item, "fields")
            emits.append(
                Emit(
                    event=self._word(item, "event") or "",
                    position=item.position,
                    when=self._condition(item, "when"),
                    fields=fields,
                    names=names,
                )
            )
        fold = self._mapping(node, "fold")
        if fold is not None:
            self._check_keys(fold, "fold")
        return Stream(
            block=self._block(node, None),
            state={k.text: self._state(k, m) for k, m in self._named(node, "state")},
            complete=self._condition(node, "complete"),
            emit=tuple(emits),
            fold=Fold(
                fold.position,
                self._paths(fold, "concat"),
                self._paths(fold, "append"),
                self._paths(fold, "last"),
            )
            if fold
            else None,
            like=self._word(node, "like"),
            like_position=self._place(node, "like"),
        )

    def _stream_base(self, key: Key, node: Mapping) -> Stream:
        self._check_keys(node, "stream_base")
        return Stream(
            block=replace(self._block(node, None), position=key.position),
            state={k.text: self._state(k, m) for k, m in self._named(node, "state")},
            complete=self._condition(node, "complete"),
            emit=(),
            fold=None,
        )

    def _state(self, key: Key, node: Mapping) -> StateRule:
        self._check_keys(node, "state")
        if not any(word in node for word in ("last", "fold", "via")):
            self._findings.add(
                "unknown-key", key.position, f"`{key.text}` says nothing of what it remembers"
            )
        reducer = "last" if "last" in node else "fold"
        paths = self._paths(node, reducer)
        return StateRule(
            name=key.text,
            position=key.position,
            reducer=reducer,
            source=paths[0] if paths else None,
            via=self._word(node, "via"),
            arguments=self._arguments(node),
        )

    def _shape(self, key: Key, node: Mapping) -> Shape:
        self._check_keys(node, "shape")
        return Shape(key.text, key.position, self._block(node, None), None, ())

    def _block(self, node: Mapping, construct: str | None) -> Block:
        if construct is not None:
            self._check_keys(node, construct)
        fields, names = self._rules(node, "fields")
        place = self._place(node, "from")
        ignored = node.get("ignored")
        return Block(
            position=node.position,
            source=self._word(node, "from") or "",
            source_position=place,
            target=self._word(node, "to") or "",
            target_position=self._place(node, "to"),
            fields=fields,
            names=names,
            ignored=self._reasons(node, "ignored"),
            ignored_position=ignored.position if ignored else place,
            rejected={},
            omitted=self._reasons(node, "omitted"),
        )

    def _rule(self, node: Value) -> Rule:
        if isinstance(node, Scalar):
            return Rule(node.position, sources=(self._path(node),))
        assert isinstance(node, Mapping)
        self._check_keys(node, "rule")
        is_known = all(key.text in GRAMMAR["rule"] for key, _ in node.items())
        if is_known and not any(verb in node for verb in VALUE_VERBS):
            self._findings.add(
                "unknown-key", node.position, "this rule says nothing of where its value comes from"
            )
        return self._rule_of(node)

    def _rule_of(self, node: Mapping) -> Rule:
        fields, names = self._rules(node, "fields")
        each, match = self._paths(node, "each"), self._paths(node, "match")
        return Rule(
            position=node.position,
            sources=self._paths(node, "from"),
            default=self._constant(node, "default"),
            value=self._constant(node, "value"),
            fields=fields if "fields" in node else None,
            names=names,
            each=each[0] if each else None,
            use=self._word(node, "use"),
            match=match[0] if match else None,
            cases=tuple(self._case(item) for item in self._list(node, "cases")),
            table=self._word(node, "table"),
            via=self._word(node, "via"),
            arguments=self._arguments(node),
            when=self._condition(node, "when"),
        )

    def _case(self, node: Mapping) -> Case:
        self._check_keys(node, "rule_case")
        absent = "absent" in node
        reject = self._refusal(node, "reject")
        return Case(
            position=node.position,
            equals=self._constant(node, "equals"),
            type=self._word(node, "type"),
            otherwise="otherwise" in node,
            absent=absent,
            reject=reject,
            rule=None if absent or reject else self._rule_of(node),
        )

    def _table(self, key: Key, node: Mapping) -> Table:
        self._check_keys(node, "table")
        rows = self._mapping(node, "rows") or Mapping({}, node.position)
        return Table(
            name=key.text,
            position=key.position,
            source=self._word(node, "from"),
            target=self._word(node, "to"),
            rows={
                row.text: (row, Constant(plain(value), value.position))
                for row, value in rows.items()
            },
            otherwise=self._constant(node, "otherwise"),
        )

    def _error_row(self, node: Mapping) -> ErrorRow:
        self._check_keys(node, "error_row")
        statuses = node.get("status")
        values = statuses.items if isinstance(statuses, Sequence) else (statuses,)
        for value in values:
            if value is not None and not re.fullmatch(r"[1-5](\d\d|xx)", str(plain(value))):
                self._findings.add(
                    "bad-value",
                    value.position,
                    f"`{plain(value)}` is neither a status nor a class such as 5xx",
                )
        return ErrorRow(
            position=node.position,
            statuses=tuple(
                text
                for value in values
                if value is not None and re.fullmatch(r"[1-5](\d\d|xx)", text := str(plain(value)))
            ),
            code=self._word(node, "code"),
            faults=tuple(self._words(node, "fault")),
            message=self._word(node, "message"),
            otherwise="otherwise" in node,
            refusal=Refusal(
                self._integer(node, "as") or 0,
                self._word(node, "error") or "",
                self._place(node, "error"),
            ),
        )

    def _recover_row(self, node: Mapping) -> RecoverRow:
        self._check_keys(node, "recover_row")
        return RecoverRow(
            node.position,
            self._word(node, "message"),
            self._word(node, "code"),
            self._word(node, "do") or "",
        )

    def _condition(self, node: Mapping, name: str) -> Condition | None:
        body = self._mapping(node, name)
        if body is None:
            return None
        self._check_keys(body, "condition")
        if not any(key.text in GRAMMAR["condition"] for key, _ in body.items()):
            self._findings.add("bad-value", body.position, f"`{name}` tests nothing")
        true = self._paths(body, "true")
        equals = self._operands(body, "equals", 2)
        between = self._operands(body, "between", 3)
        return Condition(
            position=body.position,
            empty=self._paths(body, "empty"),
            nonempty=self._paths(body, "nonempty"),
            present=self._paths(body, "present"),
            absent=self._paths(body, "absent"),
            true=true[0] if true else None,
            equals=(equals[0], equals[1][0]) if equals else None,
            between=(between[0], between[1][0], between[1][1]) if between else None,
            via=self._word(body, "via"),
            arguments=self._arguments(body) or {},
        )

    def _operands(
        self, node: Mapping, name: str, count: int
    ) -> tuple[PathRef, list[Constant]] | None:
        value = node.get(name)
        if value is None:
            return None
        if not isinstance(value, Sequence) or len(value.items) != count:
            self._findings.add("bad-value", value.position, f"`{name}` takes {count} items")
            return None
        first = value.items[0]
        path = self._path(first) if isinstance(first, Scalar) else PathRef("", first.position)
        return path, [Constant(plain(item), item.position) for item in value.items[1:]]

    def _refusal(self, node: Mapping, name: str) -> Refusal | None:
        body = self._mapping(node, name)
        return self._refusal_of(body) if body is not None else None

    def _refusal_of(self, node: Mapping) -> Refusal | None:
        self._check_keys(node, "refusal")
        return Refusal(
            self._integer(node, "status") or 0,
            self._word(node, "error") or "",
            self._place(node, "error"),
            "late" in node,
        )

    def _reasons(self, node: Mapping, name: str) -> dict[str, Reason]:
        reasons = {}
        body = node.get(name)
        for key, value in body.items() if isinstance(body, Mapping) else ():
            handled_by = None
            text = ""
            if isinstance(value, Scalar):
                text = str(value.value or "")
            elif isinstance(value, Mapping):
                self._check_keys(value, "reason")
                text = self._word(value, "reason") or ""
                handled_by = self._word(value, "handled_by")
            if text.strip().lower() in THIN_REASONS:
                self._findings.add(
                    "thin-reason",
                    _place_of(key, value),
                    f"`{key.text}` is left out without a reason",
                    hint="say why a client or LM Studio loses nothing by it",
                )
            reasons[key.text] = Reason(text, handled_by, key.position)
        return reasons

    # -- values -------------------------------------------------------------------------------

    def _rules(self, node: Mapping, name: str) -> tuple[dict[str, Rule], dict[str, Key]]:
        body = node.get(name)
        rules: dict[str, Rule] = {}
        names: dict[str, Key] = {}
        for key, value in body.items() if isinstance(body, Mapping) else ():
            if _is_rule(value):
                rules[key.text] = self._rule(value)
                names[key.text] = key
        return rules, names

    def _arguments(self, node: Mapping) -> dict[str, Argument] | None:
        body = self._mapping(node, "with")
        if body is None:
            return None
        arguments: dict[str, Argument] = {}
        for key, value in body.items():
            if isinstance(value, Scalar):
                arguments[key.text] = self._path(value)
            elif isinstance(value, Mapping):
                self._check_keys(value, "constant_argument")
                arguments[key.text] = Constant(
                    plain(value.get("value") or Scalar(None, value.position)), value.position
                )
        return arguments

    def _named(self, node: Mapping, name: str) -> list[tuple[Key, Mapping]]:
        body = self._mapping(node, name)
        found = []
        for key, value in body.items() if body else ():
            if isinstance(value, Mapping):
                found.append((key, value))
        return found

    def _list(self, node: Mapping, name: str) -> list[Mapping]:
        value = node.get(name)
        items = value.items if isinstance(value, Sequence) else ()
        return [item for item in items if isinstance(item, Mapping)]

    def _mapping(self, node: Mapping, name: str) -> Mapping | None:
        value = node.get(name)
        return value if isinstance(value, Mapping) else None

    def _paths(self, node: Mapping, name: str) -> tuple[PathRef, ...]:
        value = node.get(name)
        if isinstance(value, Sequence):
            return tuple(self._path(item) for item in value.items if isinstance(item, Scalar))
        return (self._path(value),) if isinstance(value, Scalar) else ()

    def _path(self, node: Scalar) -> PathRef:
        return PathRef(str(node.value), node.position)

    def _constant(self, node: Mapping, name: str) -> Constant | None:
        value = node.get(name)
        return Constant(plain(value), value.position) if value is not None else None

    def _word(self, node: Mapping, name: str) -> str | None:
        value = node.get(name)
        return value.value if isinstance(value, Scalar) and isinstance(value.value, str) else None

    def _words(self, node: Mapping, name: str) -> list[tuple[str, Position]]:
        value = node.get(name)
        items = value.items if isinstance(value, Sequence) else (value,)
        return [(str(item.value), item.position) for item in items if isinstance(item, Scalar)]

    def _integer(self, node: Mapping, name: str) -> int | None:
        value = node.get(name)
        return value.value if isinstance(value, Scalar) and isinstance(value.value, int) else None

    def _place(self, node: Mapping, name: str) -> Position:
        value = node.get(name)
        return value.position if value is not None else node.position

    def _check_keys(self, node: Mapping, construct: str) -> None:
        known = GRAMMAR[construct]
        for key, value in node.items():
            if key.text in known:
                self._check_form(f"`{key.text}`", key, value, known[key.text].kind)
            else:
                self._findings.add(
                    "unknown-key",
                    key.position,
                    f"`{key.text}` is not a key of a {construct.replace('_', ' ')}",
                    hint=did_you_mean(key.text, known),
                )
        for name, entry in known.items():
            if entry.required and name not in node:
                self._findings.add(
                    "unknown-key",
                    node.position,
                    f"this {construct.replace('_', ' ')} lacks `{name}`",
                )
        for group in EXCLUSIVE.get(construct, ()):
            present = [name for name in group if name in node]
            if len(present) > 1:
                self._findings.add(
                    "unknown-key",
                    node.key(present[1]).position,
                    f"`{present[1]}` excludes `{present[0]}`: one field has one way to its value",
                )
        for name, partners in COMPANIONS.get(construct, {}).items():
            if name in node and not any(partner in node for partner in partners):
                self._findings.add(
                    "unknown-key",
                    node.key(name).position,
                    f"`{name}` means nothing here without "
                    + " or ".join(f"`{partner}`" for partner in partners),
                )

    def _check_form(self, label: str, key: Key, value: Value, kind: str) -> None:
        """Report a value that is none of the forms of its kind; its items are checked likewise."""
        kinds = alternatives(kind)
        found = next((part for part in kinds if _has_form(value, part)), None)
        if found is None:
            forms = dict.fromkeys(FORMS.get(part.split(":")[0], "a mapping") for part in kinds)
            self._findings.add(
                "bad-value", _place_of(key, value), f"{label} must be {' or '.join(forms)}"
            )
            return
        head, _, item = found.partition(":")
        if head == "map" and isinstance(value, Mapping):
            for inner_key, inner in value.items():
                self._check_form(f"`{inner_key.text}`", inner_key, inner, item)
        elif head == "list" and isinstance(value, Sequence):
            for inner in value:
                self._check_form(f"an item of `{key.text}`", key, inner, item)


def _place_of(key: Key, value: Value) -> Position:
    """Return where a value stands; one that is left out has no place but its key's."""
    left_out = isinstance(value, Scalar) and value.value is None
    return key.position if left_out else value.position


def _is_rule(value: Value) -> bool:
    return any(_has_form(value, kind) for kind in alternatives("rule"))


def _has_form(value: Value, kind: str) -> bool:
    match kind.split(":")[0]:
        case "any":
            return True
        case "word" | "path":
            return isinstance(value, Scalar) and isinstance(value.value, str)
        case "constant":
            return isinstance(value, Scalar)
        case "flag":
            return isinstance(value, Scalar) and value.value is True
        case "status":
            return isinstance(value, Scalar) and _is_status(value.value)
        case "list":
            return isinstance(value, Sequence)
        case _:
            return isinstance(value, Mapping)


def _is_status(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599
