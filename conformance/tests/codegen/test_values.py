"""
What rules ask of values means the same in generated code as in JSON: run, not read.

Raw values are asked for their content, true is not one, and what refuses under a condition does so
only where the condition holds. One endpoint is added to the fixture project for it.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from codegen.generator import Generator
from conformance.tests.codegen.harness import edited, gateway_of, replaced, written

SPEC = "specs/ollama.yaml"
PATH = """\
  /api/odd:
    post:
      operationId: odd
      requestBody:
        content:
          application/json: {schema: {$ref: '#/components/schemas/OddRequest'}}
      responses:
        '200':
          description: What the rules made of it.
          content:
            application/json: {schema: {$ref: '#/components/schemas/OddResponse'}}
        '400': {$ref: '#/components/responses/Error'}
  /api/gone:
"""
SCHEMAS = """\
    OddRequest:
      type: object
      properties:
        raw: {x-decode: raw}
        mixed: {oneOf: [{type: integer}, {type: boolean}]}
        word: {type: string}
        other: {type: string}
        strict: {type: boolean}
    OddResponse:
      type: object
      properties:
        empty: {type: boolean}
        filled: {type: boolean}
        there: {type: boolean}
        missing: {type: boolean}
        one: {type: boolean}
        yes: {type: boolean}
        kind: {type: string}
        mixed: {type: string}
        strict: {type: string}
        within: {$ref: '#/components/schemas/OddPart'}
        chosen: {$ref: '#/components/schemas/OddPart'}
    OddPart:
      type: object
      required: [name]
      properties:
        name: {type: string}
    GoneRequest:
"""
MAPPING = """\
mapping: odd
client: {api: ollama, operation: post /api/odd}
plan:
  - answer: odd
answers:
  odd:
    fields:
      empty:   {value: true, when: {empty: raw}}
      filled:  {value: true, when: {nonempty: raw}}
      there:   {value: true, when: {present: raw}}
      missing: {value: true, when: {absent: raw}}
      one:     {value: true, when: {equals: [raw, 1]}}
      yes:     {value: true, when: {true: raw}}
      kind:
        match: raw
        cases:
          - {equals: 1, value: one}
          - {type: number, value: number}
          - {type: boolean, value: boolean}
          - {otherwise: true, value: other}
      mixed:
        match: mixed
        cases:
          - {type: number, value: number}
          - {type: boolean, value: boolean}
      strict:
        match: word
        when: {true: strict}
        cases:
          - {equals: good, value: fine}
          - {otherwise: true, reject: {status: 400, error: "{word} is not good"}}
      within:
        when: {true: strict}
        fields:
          name:
            match: word
            default: unnamed
            cases:
              - {equals: good, value: fine}
              - {otherwise: true, reject: {status: 400, error: "{word} is no name"}}
      chosen:
        match: word
        cases:
          - equals: pick
            fields:
              name:
                match: other
                default: unnamed
                cases:
                  - {equals: this, value: taken}
                  - {otherwise: true, reject: {status: 400, error: "{other} can't be picked"}}
          - {otherwise: true, absent: true}
ignored:
  strict: it only says whether other fields are asked
"""

RAW = {
    "null": {"empty", "missing"},
    '""': {"empty", "there"},
    "[]": {"empty", "there"},
    "{}": {"empty", "there"},
    "0": {"filled", "there"},
    "false": {"filled", "there"},
    "1": {"filled", "there", "one"},
    "1.0": {"filled", "there", "one"},
    "true": {"filled", "there", "yes"},
    '"a"': {"filled", "there"},
    "[null]": {"filled", "there"},
    '{"a": 1}': {"filled", "there"},
}
"""Which of the fields that ask something of `raw` are set, by its JSON."""

KINDS = {"1": "one", "1.5": "number", "true": "boolean", "false": "boolean", '"1"': "other"}


@pytest.fixture(scope="module")
def gateway(project: Path) -> Iterator[Mapping[str, ModuleType]]:
    """The fixture project's gateway with the added endpoint, generated and imported."""
    described = replaced(project, SPEC, "  /api/gone:\n", PATH)
    described = described.replace("    GoneRequest:\n", SCHEMAS)
    with edited(project, {SPEC: described, "specs/mappings/odd.yaml": MAPPING}):
        files = Generator(project).generate()
    written(files, project)
    with gateway_of(project) as modules:
        yield modules


def answered(gateway: Mapping[str, ModuleType], body: str) -> dict[str, Any]:
    """Return what the added endpoint answers for a body."""
    plan = gateway["odd"].plan
    endpoint = next(item for item in gateway["endpoints"].ENDPOINTS if item.plan is plan)
    run = gateway["run"].Run({})
    answer = asyncio.run(endpoint.plan(endpoint.reader.read(body.encode()), run))
    found: dict[str, Any] = msgspec.to_builtins(answer.body)
    return found


@pytest.mark.parametrize(("raw", "expected"), RAW.items(), ids=RAW)
def test_a_raw_value_is_asked_for_its_content(
    gateway: Mapping[str, ModuleType], raw: str, expected: set[str]
) -> None:
    """Its null is absence, empty is what holds nothing, and numbers and booleans are values."""
    answer = answered(gateway, f'{{"raw": {raw}}}')

    assert expected == {name for name, value in answer.items() if value is True}


def test_a_raw_value_that_is_not_sent_is_missing(gateway: Mapping[str, ModuleType]) -> None:
    """Absence is as empty as null is."""
    assert {"empty": True, "missing": True} == answered(gateway, "{}")


@pytest.mark.parametrize(("raw", "expected"), KINDS.items(), ids=KINDS)
def test_true_is_no_number(gateway: Mapping[str, ModuleType], raw: str, expected: str) -> None:
    """Python takes `True` for `1`; a case for numbers does not."""
    assert expected == answered(gateway, f'{{"raw": {raw}}}')["kind"]


@pytest.mark.parametrize(
    ("mixed", "expected"), [(1, "number"), (True, "boolean"), (False, "boolean")]
)
def test_true_is_no_number_where_both_are_described(
    gateway: Mapping[str, ModuleType], mixed: object, expected: str
) -> None:
    """The order of the cases does not matter."""
    assert expected == answered(gateway, json.dumps({"mixed": mixed}))["mixed"]


def test_a_case_refuses_only_under_its_condition(gateway: Mapping[str, ModuleType]) -> None:
    """A match with `when`, and one within an object that has it, leave others alone."""
    refusal = gateway["faults"].Refusal

    assert {"empty": True, "missing": True} == answered(gateway, '{"word": "bad"}')
    with pytest.raises(refusal) as caught:
        answered(gateway, '{"word": "bad", "strict": true}')
    assert "bad is not good" == caught.value.error
    strict = answered(gateway, '{"word": "good", "strict": true}')
    assert ("fine", {"name": "fine"}) == (strict["strict"], strict["within"])


def test_a_case_refuses_only_within_the_case_around_it(
    gateway: Mapping[str, ModuleType],
) -> None:
    """A match inside a case is not asked where the case does not apply."""
    refusal = gateway["faults"].Refusal

    assert "chosen" not in answered(gateway, '{"word": "leave", "other": "that"}')
    assert {"name": "taken"} == answered(gateway, '{"word": "pick", "other": "this"}')["chosen"]
    with pytest.raises(refusal) as caught:
        answered(gateway, '{"word": "pick", "other": "that"}')
    assert "that can't be picked" == caught.value.error
