"""
Watching generated code while it runs: which step a plan is at, and what each function returned.

The watched code is the code that serves: nothing is compiled anew, and nothing in it knows that it
is watched. Python calls a trace function for each line of a thread that has one; only functions of
the generated modules and steps of the engine are followed. Serving never has a trace function.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec

from ..faults import Refusal, UpstreamFailure
from ..runtime.outcome import Answer, FetchCall, Report, StreamCall
from ..wire.cut_text import mend
from .index import Module, RuleIndex

PACKAGE = Path(__file__).parent.parent
_STEPS = str(PACKAGE / "engine" / "steps.py")
_CONDITION = "_when"
_REWRITES = ("take", "end")
"""What a rewriter is asked (`transforms.rewriter`)."""
_OUTCOMES = (Answer, FetchCall, Report, StreamCall)


@dataclass
class StepSeen:
    """What was seen while a plan was at one step."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Steps of the engine that it ran, with their arguments."""
    refused: Refusal | None = None
    failed: str = ""
    """What LM Studio, or the way to it, did not do at this step."""
    has_returned: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    """Variables of the plan after it."""


@dataclass
class Ran:
    """One function that ran: its arguments as JSON values, and what it returned."""

    module: str
    function: str
    given: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    """A JSON value; None when it returned nothing or raised."""
    members: dict[str, bytes] | None = None
    """For a change of what is passed on: the new values, each as JSON."""
    rewritten: list[tuple[Any, list[Any]]] = field(default_factory=list)
    """For a rewriter: each chunk that it has changed, and what came in its place."""
    error: BaseException | None = None
    line: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    """What a translator remembers after it."""


class Trace:
    """What is seen of one request."""

    def __init__(self, index: RuleIndex) -> None:
        self._modules = {str(PACKAGE / name): (name, one) for name, one in index.modules.items()}
        self.plan: tuple[str, str] | None = None
        """The module and the function whose steps are in `steps`."""
        self.steps: dict[int, StepSeen] = {}
        self.ran: list[Ran] = []
        self.is_on = False
        self.context: Any = None
        """The RequestContext, once a generated function has it."""
        self._frames: dict[FrameType, Ran] = {}
        self._rewriters: dict[int, tuple[Any, Ran]] = {}
        """The rewriters that were made, by their identities, and what made each."""
        self._taken: dict[FrameType, Any] = {}
        """The chunks that rewriters are about to change."""
        self._watched: dict[CodeType, tuple[str, Module] | None] = {}
        self._now: int | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow this thread meanwhile, and those that it starts; `is_on` says when to note."""
        before, of_threads = sys.gettrace(), threading.gettrace()
        sys.settrace(self._enter)
        # A large request is translated in another thread.
        threading.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)
            threading.settrace(of_threads)
            self._frames.clear()

    # -- the trace functions --------------------------------------------------------------------

    def _enter(self, frame: FrameType, event: str, _: Any) -> Any:
        if not self.is_on:
            return None
        code = frame.f_code
        found = self._watched.get(code, ...)
        if found is ...:
            found = self._watched[code] = self._find(code)
        if found is None:
            if code.co_filename == _STEPS:
                self._note_step_call(frame)
            # What a rewriter asks itself is a part of what it was asked.
            elif (
                code.co_name in _REWRITES
                and frame.f_back not in self._taken
                and id(frame.f_locals.get("self")) in self._rewriters
            ):
                self._taken[frame] = frame.f_locals.get("chunk")
                return self._in_rewriter
            return None
        module, one = found
        name = code.co_qualname
        if name in one.steps:
            if self.plan is None:
                self.plan = module, name
            return self._in_plan
        if frame not in self._frames:
            self._note_start(frame, module)
        return self._in_function

    def _find(self, code: CodeType) -> tuple[str, Module] | None:
        found = self._modules.get(code.co_filename)
        if found is None:
            return None
        name, (_, module) = code.co_qualname, found
        origins = module.functions.get(name, ())
        is_followed = (
            name in module.steps
            or name in module.rows
            or any(one.kind != "shape" for one in origins)
            or name.endswith((_CONDITION, "Fold.result"))
        )
        return found if is_followed else None

    def _in_plan(self, frame: FrameType, event: str, arg: Any) -> Any:
        module, one = self._modules[frame.f_code.co_filename]
        if (module, frame.f_code.co_qualname) != self.plan:
            return None
        number = one.step_at(frame.f_code.co_qualname, frame.f_lineno)
        if event == "line" and number != self._now:
            self._leave_step(frame)
            self._now = number
            if number is not None:
                self.steps.setdefault(number, StepSeen())
        elif event in ("return", "exception"):
            self._leave_step(frame)
            seen = self.steps.get(number) if number is not None else None
            if seen is not None and event == "exception" and isinstance(arg[1], Refusal):
                seen.refused = arg[1]
            elif seen is not None and event == "exception" and isinstance(arg[1], UpstreamFailure):
                seen.failed = arg[1].message
            elif seen is not None and event == "return":
                # A coroutine also returns where it waits, and then something else.
                seen.has_returned = isinstance(arg, _OUTCOMES)
        return self._in_plan

    def _in_function(self, frame: FrameType, event: str, arg: Any) -> Any:
        ran = self._frames.get(frame)
        if ran is None:
            return None
        if event == "return":
            ran.line = frame.f_lineno
            self._note_result(ran, frame, arg)
        elif event == "exception":
            ran.error = arg[1]
        return self._in_function

    def _in_rewriter(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "return" and frame in self._taken:
            chunk = self._taken.pop(frame)
            _, ran = self._rewriters[id(frame.f_locals["self"])]
            is_same = not arg if chunk is None else len(arg) == 1 and arg[0] is chunk
            if not is_same:
                ran.rewritten.append((_members(chunk), [*map(_members, arg)]))
        return self._in_rewriter

    # -- what is noted --------------------------------------------------------------------------

    def _leave_step(self, frame: FrameType) -> None:
        seen = self.steps.get(self._now) if self._now is not None else None
        values = frame.f_locals
        run = values.get("run")
        if run is not None:
            self.context = run.context
        if seen is not None:
            seen.values = {name: values[name] for name in ("name", "found") if name in values}
            seen.values["options"] = plain(values.get("options"))

    def _note_step_call(self, frame: FrameType) -> None:
        caller = frame.f_back
        if caller is None or self._now is None or self.plan is None:
            return
        module = self._modules.get(caller.f_code.co_filename)
        if module is None or (module[0], caller.f_code.co_qualname) != self.plan:
            return
        seen = self.steps[self._now]
        name = frame.f_code.co_name
        if not any(known == name for known, _ in seen.calls):
            given = {key: value for key, value in frame.f_locals.items() if key != "run"}
            seen.calls.append((name, {key: plain(value) for key, value in given.items()}))

    def _note_start(self, frame: FrameType, module: str) -> None:
        values = frame.f_locals
        ran = Ran(module, frame.f_code.co_qualname)
        for name in ("chunk", "source", "response"):
            if name in values:
                ran.given[name] = plain(values[name])
        if (members := values.get("members")) is not None:
            ran.given["members"] = {name: plain(value) for name, value in members.items()}
        if (context := values.get("context")) is not None:
            self.context = context
        self._frames[frame] = ran
        self.ran.append(ran)

    def _note_result(self, ran: Ran, frame: FrameType, result: Any) -> None:
        if isinstance(result, dict):
            ran.members = {
                name: encoded(value) for name, value in result.items() if value is not msgspec.UNSET
            }
        elif isinstance(result, Refusal):
            ran.result = {"status": result.status, "error": result.error}
        elif hasattr(result, "is_waiting"):
            self._rewriters[id(result)] = result, ran
        elif result is not None:
            ran.result = plain(result)
        holder = frame.f_locals.get("self")
        if holder is not None and hasattr(type(holder), "__slots__"):
            ran.state = {
                name: plain(value)
                for name in type(holder).__slots__
                if not name.startswith("_")
                and (value := getattr(holder, name, msgspec.UNSET)) is not msgspec.UNSET
            }


def _members(chunk: Any) -> Any:
    return None if chunk is None else {name: plain(raw) for name, raw in chunk.items()}


def encoded(value: Any) -> bytes:
    """Return a value as JSON, with cut characters replaced; a value of no JSON as its words."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # A copy: structs are mended in place, and these ones are still on their way.
        return msgspec.json.encode(mend(deepcopy(value)))
    except TypeError:
        return msgspec.json.encode(repr(value))


def plain(value: Any) -> Any:
    """
    Return a value as plain JSON values; UNSET stays as it is.

    >>> plain(msgspec.Raw(b'{"a":1}'))
    {'a': 1}
    """
    if value is msgspec.UNSET:
        return value
    data = encoded(value)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data.decode("utf-8", "replace")
