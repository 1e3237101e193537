"""
What is passed on: the rows of a file's routes, and what happens before and in place of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from codegen.compiler import ir
from codegen.compiler.answers import Answers
from codegen.compiler.builder import Builder
from codegen.compiler.changes import Changes
from codegen.compiler.coverage import Passage, Usage
from codegen.compiler.expressions import Expressions
from codegen.compiler.needs import needs_of_members
from codegen.compiler.operand import Body
from codegen.compiler.place import Context
from codegen.compiler.provenance import instead_of, step_of
from codegen.compiler.runtime import ANY, CONTEXT, MEMBERS, RUN, UNSET
from codegen.compiler.sides import Sides
from codegen.compiler.steps import CONTEXT as RUN_CONTEXT
from codegen.compiler.steps import Steps
from codegen.compiler.tree import NONE, Attribute, If, Name, Return, assign, names_read, negated
from codegen.rules.model import FirstStep, Instead, Passthrough, Patch, Refusal

INSTEAD = "answered without LM Studio"
INSTEAD_WHEN = "answered without LM Studio where a setting says so"
"""What the pages say of a whole answer that is made here."""


class Patches:
    """What is passed on of one file."""

    def __init__(self, builder: Builder, context: Context, passed: Passthrough) -> None:
        self._builder = builder
        self._context = context
        self._findings = builder.findings
        self._passed = passed
        self._sides = Sides(builder, passed)
        self._changes = Changes(builder, context, self._sides)

    def compile(self) -> None:
        """Write the functions of the file, and a row for each of its routes."""
        file, module = self._builder.file, self._builder.module
        sides, changing = self._sides, self._changes
        sides.check_named()
        patch = file.patch or Patch()
        changes = {
            side.name: tuple(changing.of(side, patch.sides[side.name]))
            for side in (sides.request, sides.answer, sides.stream)
        }
        rewrites = tuple(changing.rewrites(sides.answer, patch.rewrite))
        instead = self._instead(file.instead) if file.instead is not None else None
        warning = file.instead.warning if file.instead is not None else None
        first = self._first(patch.first) if patch.first else None
        needs = needs_of_members(self._builder, self._passed, sides.request.holder)
        for method, path in self._routes():
            module.passed_on.append(
                ir.PassedOn(
                    method=method,
                    path=path,
                    module=module.name,
                    model=self._passed.model or "",
                    answered_by=tuple(name for name, _ in self._passed.answered_by),
                    changes_models=self._passed.changes_models,
                    first=first,
                    request=changes["request"],
                    answer=changes["answer"],
                    stream=changes["stream"],
                    rewrites=rewrites,
                    instead=instead,
                    reads=tuple(sorted(changing.reads)),
                    path_model=self._passed.path_model or "",
                    looked_up=self._passed.looked_up,
                    warning=warning or "",
                    missing=_refusal(self._passed.missing),
                    lacking=_refusal(self._passed.lacking),
                    home=self._passed.home or "",
                    session=self._passed.session or "",
                    session_below=self._passed.session_below and not method,
                    gives=tuple(tuple(name.split(".")) for name, _ in self._passed.gives),
                    union=self._passed.united,
                    needs=needs,
                )
            )
            route = f"`{method} {path}`" if method else f"other routes below `{path}`"
            self._builder.project.coverage.note_passages(file, route, changing.passages)

    def _routes(self) -> Iterator[tuple[str, str]]:
        for operation in self._builder.operations:
            yield operation.method.upper(), operation.path
        for path, place in self._passed.below:
            if path.startswith("/") and path.endswith("/"):
                yield "", path
            else:
                self._findings.add(
                    "bad-value", place, f"`{path}` must begin and end with a slash: `/v1/`"
                )

    def _first(self, rules: tuple[FirstStep, ...]) -> str:
        """Write the steps that a request for a model goes through before it is changed."""
        builder = self._builder
        body = Body(names={"members", "run", "context", "item"})
        expressions = Expressions.at(self._context, self._sides.request.scope, body)
        usage = Usage(None, rules[0].position)
        steps = Steps(builder, self._context, Answers(builder, self._context), expressions, usage)
        for rule in rules:
            steps.write(rule.step)
            self._changes.passages.append(Passage("request", (), _shown(rule), rule.why))
            if self._passed.model is None:
                self._findings.add(
                    "need-before-model",
                    rule.position,
                    "what happens first happens for a model, and no member is stated to name one",
                )
        written = body.written()
        if RUN_CONTEXT.id in names_read(written):
            written = (assign(RUN_CONTEXT, Attribute(Name("run"), "context")), *written)
        builder.module.functions.append(
            ir.Function(
                name="first",
                parameters=(ir.Parameter("members", MEMBERS), ir.Parameter("run", RUN)),
                returns=NONE,
                doc="What happens before a request is passed on.",
                body=written,
                is_async=True,
                steps=tuple(step_of(rule.step) for rule in rules),
            )
        )
        return "first"

    def _instead(self, rule: Instead) -> str | None:
        answer = (
            self._builder.specs.find_struct(rule.target, rule.target_position)
            if rule.target is not None
            else self._sides.answer_type()
        )
        if answer is None:
            if rule.target is None:
                self._findings.add("no-such-type", rule.position, "nothing describes the answer")
            return None
        request = self._sides.request
        body = Body(names={"members", "context", "item"})
        expressions = Expressions.at(self._context, request.scope, body)
        if rule.when is not None:
            test = expressions.conditions.test(rule.when)
            body.lines.append(If(negated(test), (Return(UNSET),)))
        made = expressions.build(answer, rule.fields, rule.names, rule.position)
        body.lines.append(Return(made))
        self._changes.check_read(request.scope, body, rule.position)
        words = INSTEAD if rule.when is None else INSTEAD_WHEN
        self._changes.passages.append(Passage("answer", (), words, rule.why))
        name = "instead"
        self._builder.module.functions.append(
            ir.Function(
                name=name,
                parameters=(ir.Parameter("members", MEMBERS), ir.Parameter("context", CONTEXT)),
                returns=ANY,
                doc="The answer that is made here, absent where the request is passed on.",
                body=body.written(),
                origins=(instead_of(rule, str(answer)),),
            )
        )
        return name


def _refusal(rule: Refusal | None) -> tuple[int, str] | None:
    """Return the status and the text of an error, which names no paths here."""
    return (rule.status, rule.error) if rule is not None else None


def _shown(rule: FirstStep) -> str:
    """Return what a step before a request does, as the pages say it."""
    if rule.need is not None:
        return f"refused for a model that lacks `{rule.need}`"
    if rule.do is not None:
        return f"passed on after the step `{rule.do}`"
    return "refused where it cannot be passed on whole"
