"""
Answers made without an upstream call, compiled to functions at their first use.
"""

from __future__ import annotations

from codegen.compiler import ir
from codegen.compiler.builder import Builder
from codegen.compiler.coverage import Usage
from codegen.compiler.expressions import Expressions
from codegen.compiler.operand import Body, Scope
from codegen.compiler.place import Context
from codegen.compiler.provenance import Origin, entries_of
from codegen.compiler.runtime import annotation
from codegen.compiler.tree import NONE, Call, Expression, Literal, Name, Return
from codegen.descriptions.problem import did_you_mean
from codegen.descriptions.source import Key
from codegen.descriptions.types import StructType
from codegen.rules.model import AnswerRule, Rule

NO_TEXT = Literal("")


class Answers:
    """The answers of one file."""

    def __init__(self, builder: Builder, context: Context) -> None:
        self._builder = builder
        self._context = context
        self._findings = builder.findings
        self._made: dict[str, Expression] = {}

    def made(self, answer: AnswerRule, usage: Usage, plan: Scope) -> Expression:
        """
        Compile an answer to a function and return the call that makes it.

        `plan` is the plan's scope at the step: what is decoded and resolved by then.
        """
        if answer.text is not None:
            return Literal(answer.text)
        if answer.is_empty:
            return NONE
        if answer.name not in self._made:
            compiled = self._compile(answer, usage, plan)
            if compiled is None:
                return NO_TEXT
            self._made[answer.name] = compiled
        return self._made[answer.name]

    def _compile(self, answer: AnswerRule, usage: Usage, plan: Scope) -> Expression | None:
        builder = self._builder
        inherited = self._inherited(answer)
        if inherited is None:
            return None
        fields, names = inherited
        target = (
            builder.specs.find_struct(answer.target, answer.position)
            if answer.target is not None
            else builder.answer_type()
        )
        if not isinstance(target, StructType):
            self._findings.add(
                "no-such-type",
                answer.position,
                f"`{answer.name}`: this operation answers no object",
            )
            return None
        builder.check_answered(target, answer.position)
        body = Body(names={"request", "context", "item", *plan.late.values()})
        scope = builder.request_scope()
        scope.late, scope.unresolved = plan.late, plan.unresolved
        expressions = Expressions.at(self._context, scope, body)
        body.lines.append(Return(expressions.build(target, fields, names, answer.position)))
        usage.note(scope, "", "$request")
        builder.note_produced(target, fields, answer.omitted)
        builder.check_stale(target, set(fields), answer.omitted)
        if answer.streamed is not None:
            self._check_whole(answer, target, set(fields))
        parameters = builder.request_parameters(body)
        name = f"{answer.name}_answer"
        builder.module.functions.append(
            ir.Function(
                name=name,
                parameters=parameters,
                returns=annotation(target),
                doc=f"Answer `{answer.name}`.",
                body=body.written(),
                origins=(
                    Origin(
                        "answer",
                        answer.name,
                        answer.position,
                        str(target),
                        entries_of(fields, names),
                        answer.omitted,
                    ),
                ),
            )
        )
        return Call(Name(name), tuple(Name(parameter.name) for parameter in parameters))

    def _check_whole(self, answer: AnswerRule, target: StructType, produced: set[str]) -> None:
        """An answer that is a whole stream leaves out nothing without a reason."""
        decided = produced | answer.omitted.keys() | self._builder.file.omitted.keys()
        for name in self._builder.specs.struct(target).fields:
            if name not in decided:
                self._findings.add(
                    "target-undecided",
                    answer.position,
                    f"`{name}` is never set by `{answer.name}`, which is a whole stream",
                    hint="set it, or say under `omitted` why it is left out",
                )

    def _inherited(
        self, answer: AnswerRule, seen: tuple[str, ...] = ()
    ) -> tuple[dict[str, Rule], dict[str, Key]] | None:
        if answer.like is None:
            return answer.fields, answer.names
        if answer.name in seen:
            self._findings.add(
                "bad-value", answer.position, f"`{answer.name}` is, in the end, like itself"
            )
            return None
        answers = self._builder.file.answers
        base = answers.get(answer.like)
        if base is None:
            self._findings.add(
                "no-such-answer",
                answer.position,
                f"`{answer.like}` is no answer here",
                hint=did_you_mean(answer.like, answers),
            )
            return None
        self._builder.used.add(("answer", base.name))
        inherited = self._inherited(base, (*seen, answer.name))
        if inherited is None:
            return None
        fields, names = inherited
        for name, key in answer.names.items():
            if name not in fields:
                self._findings.add(
                    "no-such-target",
                    key.position,
                    f"`{name}`: `{base.name}`, which `{answer.name}` is like, sets no such field",
                    hint=did_you_mean(name, fields),
                )
        return {**fields, **answer.fields}, {**names, **answer.names}
