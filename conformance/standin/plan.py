"""What a model is asked, in no dialect, and what it will answer: decided before a word is sent.

Every route reads its own dialect into an `Ask` and renders the `Plan` in its own way; nothing here
knows of either. All choices depend on the question alone, so that an answer can be expected.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from conformance.standin import words
from conformance.standin.catalogue import Model
from conformance.standin.instances import fill_schema
from conformance.standin.prompted import arguments_of, find_script

THOUGHTS = {"minimal": 1, "low": 1, "medium": 2, "on": 3, "high": 4, "xhigh": 6}
BROKEN_ARGUMENTS = '{"city": "Oslo", "days": '
Finish = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class Call:
    """A tool call: an id of nine digits, the tool's name, its arguments as JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Turn:
    """One message. `images` are sizes in bytes; `name` and `call_id` belong to tool results."""

    role: str
    text: str = ""
    images: tuple[int, ...] = ()
    calls: tuple[Call, ...] = ()
    call_id: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Tool:
    """A tool on offer: its name and the schema of its arguments."""

    name: str
    schema: Any


@dataclass(frozen=True)
class Ask:
    """A question: the dialogue and all that shapes the answer.

    `choice` is none, auto, required or the name of one tool. `effort` None means that nothing was
    said of thinking, "none" that it is off. `max_tokens` None is no limit. `says` is what every
    question is answered with that carries no script.
    """

    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    choice: str = "auto"
    schema: Any = None
    effort: str | None = None
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    raw: bool = False
    fault: str | None = None
    says: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """The text that the answer is about: the last thing a user said."""
        return next((t.text for t in reversed(self.turns) if t.role == "user"), "")

    @property
    def results(self) -> list[Turn]:
        """The tool results at the end of the dialogue, in order; empty when there are none."""
        results: list[Turn] = []
        for turn in reversed(self.turns):
            if turn.role != "tool":
                break
            results.insert(0, turn)
        return results

    @property
    def has_images(self) -> bool:
        """Whether any message carries an image."""
        return any(turn.images for turn in self.turns)


@dataclass(frozen=True)
class Plan:
    """An answer: thinking, text and calls in pieces, why it ends, and what it counts.

    With a `failure` it ends in this error: before its first word if there is a `status`, else
    after its last.
    """

    prompt_tokens: int
    reasoning: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    finish: Finish = "stop"
    stopped_by: str | None = None
    failure: str | None = None
    status: int | None = None

    @property
    def completion_tokens(self) -> int:
        """Tokens of the answer, thinking and arguments included; a piece is a token."""
        arguments = sum(len(words.cut(call.arguments)) for call in self.calls)
        return len(self.reasoning) + len(self.content) + arguments


def count_prompt(ask: Ask) -> int:
    """Count the tokens of a question: text, tools, a few per message, many per image."""
    total = 2
    for turn in ask.turns:
        total += 4 + words.count_tokens(turn.text) + 256 * len(turn.images)
        total += sum(words.count_tokens(call.arguments) for call in turn.calls)
    for tool in ask.tools:
        total += 8 + words.count_tokens(msgspec.json.encode(tool.schema).decode())
    return total


def make_plan(model: Model, ask: Ask) -> Plan:
    """Decide the answer of a model to a question.

    Tools that a model cannot use are dropped without a word, as LM Studio does
    (docs/facts/lmstudio.md#tools-dropped).
    """
    if not model.tools and ask.fault is None:
        ask = replace(ask, tools=())
    prompt_tokens = count_prompt(ask)
    if (prompted := follow_script(ask, prompt_tokens)) is not None:
        return prompted
    calls = choose_calls(model, ask)
    reasoning = think(model, ask)
    if calls:
        return limit(Plan(prompt_tokens, reasoning, [], calls, "tool_calls"), ask.max_tokens)
    text = say(model, ask)
    if reasoning and ask.schema is None:
        text = "\n\n" + text
    text, stopped_by = stop_at(text, ask.stops)
    plan = Plan(prompt_tokens, reasoning, words.cut(text), [], "stop", stopped_by)
    return limit(plan, ask.max_tokens)


def follow_script(ask: Ask, prompt_tokens: int) -> Plan | None:
    """Return the answer of the script that the dialogue carries (`prompted`), if one does."""
    script = find_script("\n".join(turn.text for turn in ask.turns))
    if script is None and ask.says:
        script = {"say": list(ask.says)}
    if script is None:
        return None
    calls = [
        Call(str(call.get("id", f"call{index}")), call["name"], arguments_of(call))
        for index, call in enumerate(script.get("calls", []))
    ]
    return Plan(
        prompt_tokens,
        script.get("think", []),
        script.get("say", []),
        calls,
        script.get("finish") or ("tool_calls" if calls else "stop"),
        failure=script.get("error"),
        status=script.get("status"),
    )


def think(model: Model, ask: Ask) -> list[str]:
    """Return the pieces of thinking, none when the model cannot or shall not."""
    if model.reasoning is None or ask.raw:
        return []
    effort = ask.effort or model.reasoning.default
    if effort in ("none", "off") and "off" in model.reasoning.options:
        return []
    if effort not in model.reasoning.options:
        effort = model.reasoning.default if model.reasoning.default != "off" else "on"
    return words.cut(words.think(model.display_name, ask.prompt, THOUGHTS.get(effort, 2)))


def say(model: Model, ask: Ask) -> str:
    """Return the text of an answer."""
    if ask.schema is not None:
        instance = fill_schema(ask.schema, words.names_in(ask.prompt))
        return msgspec.json.encode(instance).decode()
    if ask.raw:
        return words.carry_on(model.display_name, ask.prompt)
    if ask.results:
        names = {call.id: call.name for turn in ask.turns for call in turn.calls}
        pairs = [(t.name or names.get(t.call_id or "", ""), t.text) for t in ask.results]
        return words.relate(model.display_name, ask.prompt, pairs)
    sizes = [size for turn in ask.turns for size in turn.images]
    seen = f" The image has {sizes[-1]} bytes." if sizes else ""
    history = "\x1e".join(turn.text for turn in ask.turns[:-1])
    return words.say(model.display_name, f"{ask.prompt}{history and chr(30)}{history}") + seen


def choose_calls(model: Model, ask: Ask) -> list[Call]:
    """Return the calls to make.

    An offered tool is called unless results are already there; with several offered, those that
    the prompt names, else the first. With `required` the next tool not called yet is. No model
    could call a tool without a name.
    """
    offered = [tool for tool in ask.tools if tool.name]
    if ask.fault == "bad_tool_arguments":
        name = offered[0].name if offered else "look_up"
        return [Call(new_call_id(), name, BROKEN_ARGUMENTS)]
    if not offered or not model.tools or ask.choice == "none" or ask.raw:
        return []
    if ask.choice not in ("auto", "required"):
        chosen = [tool for tool in offered if tool.name == ask.choice] or offered[:1]
    elif ask.results:
        if ask.choice == "auto":
            return []
        chosen = [next_tool(offered, ask)]
    else:
        prompt = ask.prompt.casefold()
        chosen = [tool for tool in offered if tool.name.casefold() in prompt] or offered[:1]
    names = words.names_in(ask.prompt)
    return [
        Call(
            new_call_id(), tool.name, msgspec.json.encode(fill_schema(tool.schema, names)).decode()
        )
        for tool in chosen
    ]


def next_tool(offered: Sequence[Tool], ask: Ask) -> Tool:
    """Return the first tool that was not called since the user last spoke, else the last one."""
    called: set[str] = set()
    for turn in reversed(ask.turns):
        if turn.role == "user":
            break
        called.update(call.name for call in turn.calls)
    return next((tool for tool in offered if tool.name not in called), offered[-1])


def new_call_id() -> str:
    """Return an id of nine digits (docs/facts/lmstudio.md#call-ids)."""
    return str(100_000_000 + secrets.randbelow(900_000_000))


def stop_at(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """Cut a text before the stop string that comes first; return which one it was."""
    places = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not places:
        return text, None
    place, stop = min(places)
    return text[:place], stop


def limit(plan: Plan, most: int | None) -> Plan:
    """Cut a plan to a number of tokens; cut inside thinking it has no text and no calls."""
    if most is None or (plan.calls and len(plan.reasoning) < most):
        return plan
    if len(plan.reasoning) + len(plan.content) <= most and not plan.calls:
        return plan
    reasoning = plan.reasoning[:most]
    content = plan.content[: most - len(reasoning)]
    return Plan(plan.prompt_tokens, reasoning, content, [], "length")
