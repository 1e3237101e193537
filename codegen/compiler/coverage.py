"""
Where every field goes: the check that none is undecided, and the page that shows it.

A source field is mapped, ignored with a reason, or rejected. Fields of `internal:` types are our
own; each must be read by some mapping, not by every one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from codegen.compiler.operand import Scope
from codegen.descriptions.facts import CITATION
from codegen.descriptions.problem import Findings, Position, did_you_mean, nearest
from codegen.descriptions.spec import Specs
from codegen.descriptions.types import ArrayType, Field, RawType, StructType, Type, arms
from codegen.rules.model import Block, MappingFile, Reason, Refusal

OUR_OWN = ("internal", "context")


@dataclass
class Usage:
    """What one translation did with the fields of its source."""

    source: StructType | None
    position: Position
    used: set[str] = field(default_factory=set)
    reached: dict[str, set[str]] = field(default_factory=dict)
    ignored: dict[str, Reason] = field(default_factory=dict)
    rejected: dict[str, Refusal] = field(default_factory=dict)
    shared_ignored: dict[str, Reason] = field(default_factory=dict)

    def note(self, scope: Scope, *roots: str) -> None:
        """Take over what a scope read from some of its roots."""
        for root in roots:
            self.used |= scope.used.get(root, set())
            for path, labels in scope.reached.get(root, {}).items():
                self.reached.setdefault(path, set()).update(labels)

    def note_plan(self, plan: Usage) -> None:
        """Take over what the plan read before a call."""
        self.used |= plan.used
        for path, labels in plan.reached.items():
            self.reached.setdefault(path, set()).update(labels)

    def note_block(self, block: Block) -> None:
        """Take over what a block leaves out."""
        self.ignored.update(block.ignored)


@dataclass(frozen=True)
class Row:
    """One field of one translation, for the page."""

    mapping: str
    label: str
    source: StructType
    path: str
    outcome: str
    at: Position | None = field(default=None, compare=False)
    """Where the reason stands for which it is ignored, or the refusal."""


@dataclass(frozen=True)
class Passage:
    """Members of a request or answer that are changed on the way; none for a whole answer."""

    side: str
    members: tuple[str, ...]
    becomes: str
    why: str

    @property
    def what(self) -> str:
        """What happens to which members, in words."""
        named = ", ".join(f"`{member}`" for member in self.members)
        return f"{self.becomes} {self.side}: {named}" if named else self.becomes


@dataclass
class Coverage:
    """Every translation's usage, checked as it comes and printed at the end."""

    specs: Specs
    findings: Findings
    answers: list[tuple[str, StructType, str, str]] = field(default_factory=list)
    passed_on: dict[tuple[str, str], tuple[Passage, ...]] = field(default_factory=dict)
    """What is changed on the way, by mapping and route as the pages write it."""
    undeclared: dict[tuple[str, StructType, str], Reason] = field(default_factory=dict)
    """Why keys that no spec declares are left out, by mapping, type and `options.*`."""
    _rows: dict[Row, None] = field(default_factory=dict)
    _shared_stale: dict[tuple[str, str], bool] = field(default_factory=dict)
    _own_sources: set[StructType] = field(default_factory=set)
    _read: set[tuple[StructType, str]] = field(default_factory=set)
    _reasons: dict[tuple[str, str], Reason] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """Every field of every translation once, in the order of the files."""
        return list(self._rows)

    @property
    def fields_read(self) -> frozenset[tuple[StructType, str]]:
        """Every field that some rule reads, or hands to a transform with its object."""
        return frozenset(self._read)

    def read(self, struct: StructType, name: str) -> None:
        """Remember that some rule reads a field."""
        self._read.add((struct, name))

    def check(self, usage: Usage, file: MappingFile, label: str = "") -> None:
        """Report undecided and stale fields of one translation, and keep it for the page."""
        source = usage.source
        if source is None:
            return
        if source.api in OUR_OWN:
            self._own_sources.add(source)
            self._read.update((source, name) for name in usage.ignored)
            return
        reasons = {**usage.shared_ignored, **usage.ignored}
        paths = dict(_fields(self.specs, source))
        for path, found in paths.items():
            if (owner := _owner(path, usage.used)) is not None:
                goes = sorted(usage.reached.get(owner, set()))
                self._row(file, label, source, path, "→ " + ", ".join(goes) if goes else "read")
            elif (owner := _owner(path, usage.rejected)) is not None:
                refusal = usage.rejected[owner]
                self._row(file, label, source, path, f"refused: {refusal.error}", refusal.position)
            elif (owner := _owner(path, reasons)) is not None:
                reason = reasons[owner]
                by = f" (handled by {reason.handled_by})" if reason.handled_by else ""
                text = f"ignored: {reason.text}{by}{reason.position.from_group}"
                self._row(file, label, source, path, text, reason.position)
            else:
                self.findings.add(
                    "source-unmapped",
                    usage.position,
                    f"`{path}` of {source} is neither mapped, ignored nor rejected",
                    declared=found.position,
                    about=path,
                )
        for path, reason in reasons.items():
            if _is_wildcard(path, self.specs, source):
                self.undeclared[file.name, source, path] = reason
        self._check_undeclared(usage, source, reasons)
        known = set(paths) | {ancestor for path in paths for ancestor in _ancestors(path)}
        for path, reason in usage.ignored.items():
            self._check_reason(path, reason, usage, known, source)
        for path, reason in usage.shared_ignored.items():
            key = (file.file, path)
            self._reasons[key] = reason
            live = path in known and not _under(path, usage.used)
            self._shared_stale[key] = self._shared_stale.get(key, True) and not (
                live or _is_wildcard(path, self.specs, source)
            )

    def _check_undeclared(
        self, usage: Usage, source: StructType, reasons: dict[str, Reason]
    ) -> None:
        """Keys of a late value that no spec declares are dropped too, which needs a reason."""
        for name, found in self.specs.struct(source).fields.items():
            late = isinstance(found.type, RawType) and found.type.late is not None
            if late and not {name, f"{name}.*"} & {*reasons, *usage.rejected, *usage.used}:
                self.findings.add(
                    "source-unmapped",
                    usage.position,
                    f"`{name}.*` of {source}, keys that the spec does not declare, is not decided",
                    hint=f"ignore `{name}.*` for a reason",
                    declared=found.position,
                )

    def _check_reason(
        self, path: str, reason: Reason, usage: Usage, known: set[str], source: StructType
    ) -> None:
        if _is_wildcard(path, self.specs, source):
            return
        if path not in known or _under(path, usage.used):
            self.findings.add(
                "stale-ignore",
                reason.position,
                f"`{path}` ignores nothing: it is mapped, or the spec no longer has it",
                hint=None if path in known else did_you_mean(path, known),
                about=None if path in known else nearest(path, known),
            )

    def note_answers(self, file: MappingFile, target: StructType, produced: set[str]) -> None:
        """Keep what a mapping produces of an answer's fields."""
        for name in self.specs.struct(target).fields:
            reason = file.omitted.get(name)
            text = "produced" if name in produced else ""
            if reason is not None:
                text = f"never: {reason.text}{reason.position.from_group}"
            self.answers.append((file.name, target, name, text))

    def note_passages(self, file: MappingFile, route: str, passages: Iterable[Passage]) -> None:
        """Keep what a mapping changes of what is passed on to a route."""
        self.passed_on[file.name, route] = tuple(passages)

    def finish(self) -> None:
        """Report what can only be known once every file is compiled."""
        for key, stale in self._shared_stale.items():
            if stale:
                reason = self._reasons[key]
                self.findings.add(
                    "stale-ignore",
                    reason.position,
                    f"`{key[1]}` ignores nothing: every call maps it, or the spec no longer has it",
                )
        for source in sorted(self._own_sources, key=str):
            for name, found in self.specs.struct(source).fields.items():
                if (source, name) not in self._read and found.read_by is None:
                    self.findings.add(
                        "internal-unread",
                        found.position,
                        f"`{name}` of {source} is read by no mapping",
                        hint="delete it, map it, or say `x-read-by: gateway.MODULE`",
                    )

    def page(self) -> str:
        """Return COVERAGE.md: for every field of every served schema where it goes, or why not."""
        lines = [
            "<!-- Generated by codegen from specs/mappings. Do not edit; run `nox -s codegen`. -->",
            "# Where every field goes",
            "",
            "Every field that a client may send and every field that LM Studio may answer is "
            "mapped,",
            "ignored for a stated reason, or refused; generation fails otherwise.",
            "Where the decision stands in a group that the mapping includes, the group is named.",
        ]
        every = self.rows
        for mapping in dict.fromkeys(row.mapping for row in every):
            lines += ["", f"## {mapping}"]
            rows = [row for row in every if row.mapping == mapping]
            for label, source in dict.fromkeys((row.label, row.source) for row in rows):
                lines += ["", f"### {label + ': ' if label else ''}from {source}", ""]
                lines += ["| field | goes to |", "|---|---|"]
                lines += [
                    f"| `{row.path}` | {_cell(row.outcome)} |"
                    for row in rows
                    if (row.label, row.source) == (label, source)
                ]
            produced = [entry for entry in self.answers if entry[0] == mapping]
            for target in dict.fromkeys(entry[1] for entry in produced):
                lines += ["", f"### answers {target}", "", "| field | |", "|---|---|"]
                lines += [
                    f"| `{name}` | {_cell(text)} |"
                    for _, kind, name, text in produced
                    if kind == target
                ]
        return "\n".join([*lines, *self._passed_on()]) + "\n"

    def _passed_on(self) -> Iterator[str]:
        """Yield the part of the page about what is passed on."""
        if self.passed_on:
            yield from ("", "# What is changed of what is passed on", "")
            yield "Every other member keeps its bytes and its place."
        for (mapping, route), passages in self.passed_on.items():
            yield from ("", f"## {mapping}: {route}", "")
            if not passages:
                yield "Nothing is changed."
                continue
            yield from ("| what | why |", "|---|---|")
            yield from (f"| {one.what} | {_cell(linked(one.why))} |" for one in passages)

    def _row(
        self,
        file: MappingFile,
        label: str,
        source: StructType,
        path: str,
        text: str,
        at: Position | None = None,
    ) -> None:
        self._rows[Row(file.name, label, source, path, text, at)] = None


def linked(text: str, folder: str = "") -> str:
    """Return a text with its citations as links, for a page in a folder of the project."""
    return CITATION.sub(
        lambda found: f"[{found[2]}]({found[0].removeprefix(folder)})",
        text,
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _fields(
    specs: Specs, source: StructType, prefix: str = "", seen: tuple[StructType, ...] = ()
) -> Iterator[tuple[str, Field]]:
    for name, found in specs.struct(source).fields.items():
        path = f"{prefix}{name}"
        inner = [
            (kind, suffix)
            for arm in arms(found.type)
            if (nested := _struct_within(arm)) is not None
            for kind, suffix in [nested]
            if kind not in (*seen, source)
        ]
        if inner:
            for kind, suffix in inner:
                yield from _fields(specs, kind, f"{path}{suffix}.", (*seen, source))
        else:
            yield path, found


def _struct_within(type_: Type) -> tuple[StructType, str] | None:
    match type_:
        case StructType():
            return type_, ""
        case RawType(late=late) if late is not None:
            return StructType(*late), ""
        case ArrayType():
            found = next(
                (nested for arm in arms(type_.item) if (nested := _struct_within(arm))), None
            )
            return (found[0], ".*" + found[1]) if found else None
        case _:
            return None


def _ancestors(path: str) -> Iterator[str]:
    parts = path.split(".")
    for count in range(1, len(parts)):
        yield ".".join(parts[:count])


def _owner(path: str, among: dict[str, Reason] | dict[str, Refusal] | set[str]) -> str | None:
    return next((name for name in (path, *_ancestors(path)) if name in among), None)


def _under(path: str, among: set[str]) -> bool:
    return _owner(path, among) is not None


def _is_wildcard(path: str, specs: Specs, source: StructType) -> bool:
    """`options.*`: keys that the spec does not declare; it never covers a declared one."""
    head, star, tail = path.rpartition(".")
    if tail != "*" or not star:
        return False
    found = specs.struct(source).fields.get(head)
    return found is not None and isinstance(found.type, RawType) and found.type.late is not None
