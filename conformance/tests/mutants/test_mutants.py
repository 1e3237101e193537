"""Mutants: each kind breaks what it says, and one that lives, or a wrong excuse, fails the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Struct, UnsetType

from conformance.mutants import __main__ as command
from conformance.mutants.__main__ import (
    Baseline,
    Reasons,
    check_excuses,
    find_unused,
    hunt_of,
    judge_verdicts,
    list_mutations,
    read_reasons,
    words_of,
)
from conformance.mutants.engine import ENGINE
from conformance.mutants.hunt import Hunt, Hunter, Verdict, hunt_all, sound_runs
from conformance.mutants.probes import Kind, Mutation, Probes, compile_with_probes
from conformance.runner.runner import AsgiApp
from conformance.suite.case import Case, Run
from conformance.suite.source import SourceProblem

TOY = """
def frame(source):
    if source.text:
        return ollama.Frame(model=source.model, text=source.text, count=source.count)
    return ollama.Frame(model=source.model, text="nothing")


class Fold:
    def result(self, last):
        last.text = self.text
        return last


def change(members):
    return {"text": members["text"], "top_k": UNSET, "model": members["model"]}
"""
SITE = "toy.frame ollama:Frame"
FOLD = "toy.Fold.result"
CHANGE = "toy.change members"


class Frame(Struct, rename={"count": "eval_count"}):
    """An answer of the toy."""

    model: str
    text: str | UnsetType = UNSET
    count: int | UnsetType = UNSET


class Toy:
    """A generated module, so small that it can be read here, with probes in it."""

    def __init__(self) -> None:
        self.probes = Probes()
        names: dict[str, Any] = {
            "ollama": SimpleNamespace(Frame=Frame),
            "UNSET": UNSET,
            "__probes__": self.probes,
        }
        exec(compile_with_probes(TOY, "toy.py", "toy", self.probes), names)
        self._names = names

    def answer(self, text: str = "Fog") -> Any:
        """Translate a record and return what is written of it."""
        source = SimpleNamespace(model="tiny", text=text, count=3)
        return json.loads(msgspec.json.encode(self._names["frame"](source)))

    def fold(self) -> Any:
        """Fold a text into a last frame and return what is written of it."""
        fold = self._names["Fold"]()
        fold.text = "all of it"
        return json.loads(msgspec.json.encode(fold.result(Frame("tiny"))))

    def change(self) -> Any:
        """Return what a change of what is passed on gives to members."""
        values = self._names["change"]({"text": "Fog", "model": "tiny"})
        return {name: value for name, value in values.items() if value is not UNSET}


@pytest.fixture
def toy() -> Toy:
    """Return the toy, used twice so that each of its sites has been passed."""
    made = Toy()
    made.answer()
    made.answer("")
    made.fold()
    made.change()
    return made


def run_of(expect: Mapping[str, Any], name: str = "version/toy/shape") -> Run:
    """Return a run of a case that asks for the version and expects so."""
    case = {"case": name, "why": "a toy's answer", "client": {}, "expect": expect}
    return Run(msgspec.convert(case, Case), "recorded")


# -- what a mutant does ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "kind", "partner", "broken"),
    [
        ("text", "drop", "", {"model": "tiny", "eval_count": 3}),
        ("text", "wrong", "", {"model": "tiny", "text": 7, "eval_count": 3}),
        ("count", "wrong", "", {"model": "tiny", "text": "Fog", "eval_count": "wrong"}),
        ("text", "swap", "model", {"model": "Fog", "text": "tiny", "eval_count": 3}),
        ("text", "swap", "count", {"model": "tiny", "text": "Fog", "eval_count": 3}),
    ],
)
def test_each_kind_breaks_its_field_and_nothing_else(
    toy: Toy, field: str, kind: Kind, partner: str, broken: dict[str, Any]
) -> None:
    """Dropped, of another kind, exchanged; a neighbour of another type can't be exchanged with."""
    toy.probes.broken = Mutation(SITE, field, kind, partner)

    assert broken == toy.answer()
    assert {"model": "tiny", "text": "nothing"} == toy.answer("")

    toy.probes.broken = None

    assert {"model": "tiny", "text": "Fog", "eval_count": 3} == toy.answer()


@pytest.mark.parametrize(("kind", "text"), [("drop", None), ("wrong", 7)])
def test_what_a_fold_sets_is_broken_too(toy: Toy, kind: Kind, text: object) -> None:
    """A field that a fold puts on the last frame is a rule like others."""
    toy.probes.broken = Mutation(FOLD, "text", kind)

    assert text == toy.fold().get("text")


@pytest.mark.parametrize(
    ("kind", "partner", "broken"),
    [
        ("drop", "", {"model": "tiny"}),
        ("wrong", "", {"text": 7, "model": "tiny"}),
        ("swap", "model", {"text": "tiny", "model": "Fog"}),
    ],
)
def test_what_a_change_gives_to_members_is_broken_too(
    toy: Toy, kind: Kind, partner: str, broken: dict[str, Any]
) -> None:
    """A member that is given no value is no rule that was used, and is not broken."""
    toy.probes.forget()
    assert {"text": "Fog", "model": "tiny"} == toy.change()
    assert {f"{CHANGE}.text", f"{CHANGE}.model", "toy.change"} == toy.probes.forget()

    toy.probes.broken = Mutation(CHANGE, "text", kind, partner)
    assert broken == toy.change()

    toy.probes.broken = Mutation(CHANGE, "top_k", kind, partner)
    assert {"text": "Fog", "model": "tiny"} == toy.change()


def test_what_is_passed_is_known(toy: Toy) -> None:
    """Each field and each branch has a name, and only what was passed is told."""
    toy.probes.forget()
    toy.answer("")

    assert {
        f"{SITE} #2.model",
        f"{SITE} #2.text",
        "toy.frame",
    } == toy.probes.forget()
    assert "toy.frame if source.text" in toy.probes.branches


def test_each_rule_is_broken_in_each_way_that_shows(toy: Toy) -> None:
    """A required field can't be dropped, and a swap needs a neighbour of its type."""
    assert {
        f"{SITE}.model wrong",
        f"{SITE}.model swap text",
        f"{SITE}.text drop",
        f"{SITE}.text wrong",
        f"{SITE}.text swap model",
        f"{SITE}.count drop",
        f"{SITE}.count wrong",
        f"{SITE} #2.model wrong",
        f"{SITE} #2.model swap text",
        f"{SITE} #2.text drop",
        f"{SITE} #2.text wrong",
        f"{SITE} #2.text swap model",
        f"{FOLD}.text drop",
        f"{FOLD}.text wrong",
        f"{CHANGE}.text drop",
        f"{CHANGE}.text wrong",
        f"{CHANGE}.text swap model",
        f"{CHANGE}.model drop",
        f"{CHANGE}.model wrong",
        f"{CHANGE}.model swap text",
        f"{CHANGE}.top_k drop",
        f"{CHANGE}.top_k wrong",
    } == {one.name for one in list_mutations(toy.probes)}


def test_a_failure_must_name_the_field_as_it_is_on_the_wire(toy: Toy) -> None:
    """Both names of a swap count; what clients never see has none."""
    assert ["eval_count"] == words_of(Mutation(SITE, "count", "drop"), toy.probes)
    assert ["text", "model"] == words_of(Mutation(SITE, "text", "swap", "model"), toy.probes)
    assert ["top_k"] == words_of(Mutation(CHANGE, "top_k", "drop"), toy.probes)
    assert ["text", "model"] == words_of(Mutation(CHANGE, "text", "swap", "model"), toy.probes)

    toy.probes.sites[SITE] = replace(toy.probes.sites[SITE], api="internal")

    assert [] == words_of(Mutation(SITE, "count", "drop"), toy.probes)


# -- who notices -----------------------------------------------------------------------------------


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Have a gateway that answers everything with what is put in here."""
    answer: dict[str, Any] = {"version": "1.2.3"}

    def make(url: str, settings: Mapping[str, Any]) -> AsgiApp:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                for stage in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{stage}.complete"})
                return
            body = json.dumps(answer, separators=(",", ":")).encode()
            kind = (b"content-type", b"application/json; charset=utf-8")
            length = (b"content-length", str(len(body)).encode())
            await send({"type": "http.response.start", "status": 200, "headers": [kind, length]})
            await send({"type": "http.response.body", "body": body})

        return app

    monkeypatch.setattr("conformance.mutants.hunt.make_gateway", make)
    return answer


RUNS = [run_of({}, "version/toy/any"), run_of({"json_subset": {"version": "1.2.3"}})]


def test_a_run_that_fails_and_names_the_field_catches(answers: dict[str, Any]) -> None:
    """The first such run is told, with what it saw; the ones before are counted."""
    answers["version"] = "9.9.9"
    verdict = Hunter(Probes(), RUNS).hunt(Hunt("toy", [0, 1], ["version"]))

    assert RUNS[1].name == verdict.caught_by
    assert "version" in verdict.sign
    assert 1 == verdict.silent


def test_a_failure_that_names_another_field_catches_nothing(answers: dict[str, Any]) -> None:
    """It is kept, so that whoever reads of the living mutant sees what was said instead."""
    answers["version"] = "9.9.9"
    verdict = Hunter(Probes(), RUNS).hunt(Hunt("toy", [1], ["model"]))

    assert "" == verdict.caught_by
    assert [f"{RUNS[1].name}: "] == [one[: len(RUNS[1].name) + 2] for one in verdict.unnamed]


def test_a_failure_is_enough_where_no_field_can_be_named(answers: dict[str, Any]) -> None:
    """What clients never see is only seen by what it does."""
    answers["version"] = "9.9.9"

    assert RUNS[1].name == Hunter(Probes(), RUNS).hunt(Hunt("toy", [1], [])).caught_by


def test_nothing_stays_broken_after_a_hunt(answers: dict[str, Any]) -> None:
    """The next mutant is broken alone."""
    probes = Probes()
    Hunter(probes, RUNS).hunt(Hunt("toy", [0], [], Mutation(SITE, "text", "drop")))

    assert probes.broken is None


def test_runs_that_state_the_field_look_first(toy: Toy) -> None:
    """Those that use the rule and say nothing of it come last, and others not at all."""
    runs = [*RUNS, run_of({"json_subset": {"eval_count": 3}})]
    baseline = Baseline({f"{SITE}.count": [0, 2]}, [], 0.0)
    hunt = hunt_of(Mutation(SITE, "count", "drop"), baseline, toy.probes, runs)

    assert [2, 0] == list(hunt.runs)
    assert [2] == list(hunt_of(Mutation(SITE, "count", "drop"), baseline, toy.probes, runs, 1).runs)


def test_several_processes_hunt_as_one_does() -> None:
    """Verdicts come in the order of the hunts, and the real gateway is broken in each process."""
    runs = sound_runs()
    (number,) = [place for place, one in enumerate(runs) if one.name == "version/get@recorded"]
    engines = [one for one in ENGINE if one.name in ("wrong status", "wrong type of an object")]
    hunts = [Hunt(one.name, [number], one.words, engine=one.name) for one in engines]
    hunts.append(Hunt("sound", [number], []))

    verdicts = list(hunt_all(hunts, Hunter(Probes(), runs), jobs=2))

    assert [one.name for one in hunts] == [one.name for one in verdicts]
    assert ["version/get@recorded", "version/get@recorded", ""] == [
        one.caught_by for one in verdicts
    ]


# -- what is wrong in the end ----------------------------------------------------------------------


def test_a_mutant_that_lives_is_told() -> None:
    """With how many runs passed, and what was said instead; an excused one is not."""
    lives = Verdict("a.b ollama:C.d drop", silent=3, unnamed=["x@whole: e: wrong"])
    told = list(judge_verdicts([lives], Reasons()))

    assert [
        "a.b ollama:C.d drop: 3 runs passed, 1 failed without naming it: x@whole: e: wrong"
    ] == told
    assert [] == list(judge_verdicts([lives], Reasons({"a.b ollama:C.d *": "it can't be seen"})))


def test_an_excuse_for_a_mutant_that_is_caught_is_told() -> None:
    """One for a single mutant; one with a wildcard may hold for the others."""
    caught = Verdict("a.b ollama:C.d drop", caught_by="x@whole")

    assert [
        "a.b ollama:C.d drop: caught by x@whole, but listed: take `a.b ollama:C.d drop` out"
    ] == (list(judge_verdicts([caught], Reasons({"a.b ollama:C.d drop": "it can't be seen"}))))
    assert [] == list(judge_verdicts([caught], Reasons({"a.b ollama:C.d *": "it can't be seen"})))


def test_an_excuse_for_a_rule_that_is_not_there_is_told() -> None:
    """A rule that has gone takes its excuse with it."""
    every = [Mutation(SITE, "text", "drop")]
    reasons = Reasons({f"{SITE}.text *": "it can't be seen", f"{SITE}.gone *": "it can't be seen"})

    assert [f"mutants.yaml: unobserved: `{SITE}.gone *` names no mutant: take it out"] == list(
        check_excuses(every, reasons)
    )


def test_a_rule_that_no_case_uses_is_told(toy: Toy) -> None:
    """So is an excuse for one that is used after all."""
    used = {key: [0] for key in {*toy.probes.fields, *toy.probes.branches} - {f"{SITE}.count"}}
    baseline = Baseline(used, [], 0.0)

    assert [f"{SITE}.count: no case uses this rule"] == list(
        find_unused(toy.probes, baseline, Reasons())
    )
    assert [] == list(
        find_unused(toy.probes, baseline, Reasons({}, {f"{SITE}.count": "no case can"}))
    )
    stale = Reasons({}, {f"{SITE}.count": "no case can", f"{SITE}.text": "no case can"})
    assert [
        f"mutants.yaml: unused: `{SITE}.text` matches nothing that is unused: take it out"
    ] == list(find_unused(toy.probes, baseline, stale))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hidden: [{reason: it can not be seen, names: [a]}]\n", "`hidden` is none of"),
        ("unobserved: [{reason: because so, names: [a]}]\n", "a reason of three words"),
        ("unused: [{names: [a]}]\n", "a reason of three words"),
    ],
)
def test_a_thin_excuse_is_no_excuse(tmp_path: Path, text: str, complaint: str) -> None:
    """The list is read strictly."""
    (tmp_path / "mutants.yaml").write_text(text, "utf-8")

    with pytest.raises(SourceProblem, match=complaint):
        read_reasons(tmp_path / "mutants.yaml")


@pytest.mark.parametrize(("caught_by", "code"), [("x@whole", 0), ("", 1)])
def test_a_mutant_that_lives_fails_the_run(
    toy: Toy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caught_by: str,
    code: int,
) -> None:
    """The exit code says so, and the line which one."""
    everything = {key: [0] for key in {*toy.probes.fields, *toy.probes.branches}}
    monkeypatch.setattr(command, "place_probes", lambda: toy.probes)
    monkeypatch.setattr(command, "be_silent", lambda: None)
    monkeypatch.setattr(command, "sound_runs", lambda: RUNS)
    monkeypatch.setattr(command, "read_reasons", Reasons)
    monkeypatch.setattr(command, "run_baseline", lambda *_: Baseline(everything, [], 0.0))

    def hunted(hunts: list[Hunt], *_: object) -> list[Verdict]:
        return [
            Verdict(one.name, caught_by if one.name == f"{SITE}.text drop" else "y@whole")
            for one in hunts
        ]

    monkeypatch.setattr(command, "hunt_all", hunted)

    assert code == command.run(True, 0, "", "*", 1, False)
    assert (f"WRONG {SITE}.text drop: 0 runs passed" in capsys.readouterr().out) == bool(code)
