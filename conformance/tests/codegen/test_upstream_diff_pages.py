"""`nox -s upstream-diff` on a page in Markdown: the names on it that our descriptions lack."""

from pathlib import Path

import pytest

from codegen.upstream_diff.__main__ import main
from codegen.upstream_diff.document import Document
from codegen.upstream_diff.markdown import read_page
from codegen.upstream_diff.mentions import unknown_names
from conformance.tests.codegen.upstream_documents import having

OURS = {
    "openapi": "3.1.0",
    "paths": {
        "/api/things/{id}": {
            "post": {
                "parameters": [{"in": "query", "name": "limit", "schema": {"type": "integer"}}],
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": having(
                                model={"type": "string"},
                                options=having(heat={"type": "number"}, free={"type": "object"}),
                                parts={"type": "array", "items": having(text={"type": "string"})},
                                bias={"type": "object", "additionalProperties": having(by={})},
                            )
                        }
                    }
                },
                "responses": {
                    "200": {
                        "content": {
                            "application/x-ndjson": {
                                "schema": {"type": "array", "items": having(done={})}
                            }
                        }
                    }
                },
            }
        },
        "/api/other": {"get": {}},
    },
}
ENDPOINT = "### `POST /api/things/{id}`\n\n"


def told(text: str) -> list[str]:
    """Return what is said of a page, without the operation `POST /api/things/{id}`."""
    return [
        f"{found.kind} {change.side or change.operation} {found.path} {found.text}".replace(
            "  ", " "
        )
        for change in unknown_names(Document(OURS, Path()), read_page(text))
        for found in [change.difference]
    ]


def fenced(text: str, language: str = "json") -> str:
    """Return a block of code."""
    return f"```{language}\n{text}\n```\n"


def test_names_in_tables_are_read() -> None:
    """By the column of names; a name that ours has at any depth is known."""
    table = (
        "#### Request body\n\n"
        "| Type | Field | About |\n"
        "|------|:-----:|-------|\n"
        "| text | `model` | **required**, `a\\|b` |\n"
        "| text | **shiny** (optional) | |\n"
        "| text | heat | |\n"
        "| text | `parts[].text` | |\n"
        "| text | `parts[].image` | |\n"
        "| text | `options.heat` | |\n"
        "| | *none* | |\n"
    )
    assert told(ENDPOINT + table) == [
        "new request shiny the page names it (line 8)",
        "new request parts.*.image the page names it (line 11)",
        "new request none the page names it (line 13)",
    ]


def test_a_table_of_other_things_is_left_alone() -> None:
    """Without a column of names, or below no endpoint, a table says nothing of fields."""
    models = "| Model | Size |\n|---|---|\n| `x` | 1 |\n"
    assert told(ENDPOINT + models) == []
    assert told("# Intro\n\n| Name | Size |\n|---|---|\n| `x` | 1 |\n") == []


def test_names_in_lists_are_read_where_the_side_is_known() -> None:
    """A point that begins with a name; other points are prose."""
    points = (
        "- `model`: a model\n- `shiny` (optional) new\n- use `glossy` for shine\n- `see` also\n"
    )
    assert told(ENDPOINT + points) == []
    assert told(ENDPOINT + "#### Parameters\n\n" + points) == [
        "new request shiny the page names it (line 6)"
    ]
    assert told(ENDPOINT + "**Response**\n\n- `done`: at the end\n- `why`: new\n") == [
        "new answer why the page names it (line 6)"
    ]


def test_parameters_of_the_address_are_compared_with_ours() -> None:
    """They are not fields of the body."""
    table = "#### Query parameters\n\n| Name |\n|---|\n| limit |\n| model |\n"
    assert told(ENDPOINT + table) == ["new parameter model the page names it (line 8)"]


def test_examples_are_compared_path_by_path() -> None:
    """Lists and free keys included; what is free in ours takes any name."""
    example = """{
        "model": "x",
        "options": {"model": 1, "heat": 1, "free": {"any": {"thing": 1}}},
        "parts": [{"text": "a"}, {"image": "b", "deep": {"er": 1}}],
        "bias": {"7": {"by": 1, "at": 2}}
    }"""
    assert told(ENDPOINT + "#### Request\n\n" + fenced(example)) == [
        "new request options.model an example has it (line 5)",
        "new request parts.*.image an example has it (line 5)",
        "new request parts.*.deep an example has it (line 5)",
        "new request bias.{*}.at an example has it (line 5)",
    ]


def test_examples_of_a_stream_are_read_event_by_event() -> None:
    """One object a line, or events as a server sends them."""
    assert told(ENDPOINT + "#### Response\n\n" + fenced('{"done": 1}\n{"done": 2, "why": 3}')) == [
        "new answer why an example has it (line 5)"
    ]
    events = 'data: {"done": 1, "why": 2}\n\ndata: [DONE]'
    assert told(ENDPOINT + "#### Response\n\n" + fenced(events, "")) == [
        "new answer why an example has it (line 5)"
    ]


def test_the_body_of_a_command_is_a_request() -> None:
    """Wherever the command stands, when its address is that of the endpoint."""
    command = 'curl http://localhost:1/api/things/7 -d \'{"model": "it\'\\\'\'s", "shiny": 1}\''
    said = ["new request shiny an example has it (line 5)"]
    assert told(ENDPOINT + "#### Response\n\n" + fenced(command, "bash")) == said
    assert told(ENDPOINT + fenced(command.replace("things", "others"), "bash")) == []


def test_an_example_without_a_title_belongs_where_it_fits() -> None:
    """What neither a request nor an answer has is new."""
    assert told(ENDPOINT + fenced('{"done": true}')) == []
    assert told(ENDPOINT + fenced('{"done": true, "why": 1}')) == [
        "new answer why an example has it (line 3)"
    ]


def test_what_can_not_be_used_is_said() -> None:
    """An example with an ellipsis, one of something else, a row without a name."""
    text = ENDPOINT + "#### Response\n\n" + fenced('{"done": [...]}') + fenced('{"morning": 1}')
    text += "\n| Name |\n|---|\n| 7 |\n"
    assert told(text) == [
        "unread line 5 an example that is not JSON",
        "unread line 14 a row of a table without a name",
        "unread answer an example (line 8) that shares no name with ours",
    ]


def test_parameter_lists_in_yaml_are_read() -> None:
    """With what they hold, and in frames of longer fences; a field within a new one is not told."""
    lists = fenced(
        "- name: model\n  type: string\n- name: options\n  children:\n    - name: heat\n"
        "    - name: depth\n- name: news\n  children:\n    - name: model\n",
        "vendor_params",
    )
    snippet = fenced(
        "title: Response\nvariants:\n  one:\n    language: json\n    code: |\n"
        '      {"done": 1, "why": 2}\n',
        "vendor_snippet",
    )
    text = f"````frame\n`POST /api/things/:id`\n\n**Request body**\n{lists}{snippet}````\n"
    assert told(text) == [
        "new request options.depth the page names it (line 5)",
        "new request news the page names it (line 5)",
        "new answer why an example has it (line 17)",
    ]


def test_a_heading_ends_an_endpoint() -> None:
    """One of its own level or a higher one; below that the next endpoint begins."""
    example = fenced('{"done": 1, "why": 2}')
    assert told("## POST /api/things/{id}\n### More\n" + example) != []
    assert told("## POST /api/things/{id}\n## More\n" + example) == []
    assert told("## Things\n\n```\nPOST /api/things/{id}\n```\n### More\n" + example) != []
    assert told("## Things\n\n```\nPOST /api/things/{id}\n```\n## More\n" + example) == []


def test_an_endpoint_that_ours_lacks_is_new() -> None:
    """The address of a server before it and a slash behind it change nothing."""
    text = "## PUT https://host.example/api/fresh\n## GET /api/other/\n- [`GET /api/prose`](#x)\n"
    assert told(text) == ["new put /api/fresh the page has this endpoint (line 1)"]


@pytest.mark.parametrize("name", ["page.md", "page.MDX"])
def test_the_command_reads_pages(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It guesses the API, and says which rules touch what it found."""
    path = tmp_path / name
    path.write_text(
        "# POST /api/copy\n" + fenced('{"source": "a", "destination": "b", "shiny": true}'),
        encoding="utf-8",
    )
    assert main([str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "against specs/ollama.yaml: 1 difference(s), 0 part(s) not read" in lines[0]
    assert lines[2].startswith(
        "new       post /api/copy: request `shiny`: an example has it (line 2) (specs/ollama.yaml:"
    )


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("# POST /api/copy\n", 0, ""),
        ("# Words\n", 2, "it names no endpoint, such as `POST /api/chat` in a heading"),
        ("# GET /pets\n", 2, "it has no operation of specs/ollama.yaml"),
        ("", 2, "the file is empty"),
    ],
)
def test_a_page_of_nothing_is_said(
    text: str, code: int, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page without endpoints has nothing to compare, which is not the same as no difference."""
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    assert main([str(path)]) == code
    assert reason in capsys.readouterr().err


def test_shared_names_do_not_hide_a_side() -> None:
    """A list of a request is not compared with the answer."""
    text = ENDPOINT + "#### Request\n\n| Name |\n|---|\n| done |\n"
    assert told(text) == ["new request done the page names it (line 7)"]
