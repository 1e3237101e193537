"""What the page says of a request and of a model's name; nothing of it is sent."""

import html
import json
import re
from typing import Any

import httpx
import pytest

from conformance.standin.catalogue import GRADED, PLAIN
from conformance.tests.gateway.console.test_actions import Person, person_at
from conformance.tests.gateway.console.test_page import LOCKED, SCRIPT, log_in
from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.support import LOADED, Pair, open_pair, speak_to
from gateway.console import explaining

EXPLAIN = "/olgate/explain"
LIMIT_S = 120.0


async def ask(person: Person, **fields: str) -> httpx.Response:
    """Send one of the forms that ask for an explanation."""
    return await person.client.post(
        EXPLAIN,
        data={"token": person.token, **fields},
        headers=person.origin,
        timeout=LIMIT_S,
    )


def posted(pair: Pair) -> list[str]:
    """Return what the stand-in was asked but for its lists."""
    return [one.path for one in pair.standin.seen if one.method == "POST"]


async def test_a_pasted_request_is_explained(fresh: Pair) -> None:
    """Step by step, with the rules, and with what LM Studio would get."""
    person = await person_at(fresh.client, fresh.url)
    body = {"model": LOADED, "messages": [{"role": "user", "content": SCRIPT}], "options": {"x": 1}}
    answer = await ask(person, text=json.dumps(body), route="/api/chat")
    shown = html.unescape(answer.text)

    assert 200 == answer.status_code
    assert "<script>alert" not in answer.text
    for part in ("THE PLAN", "IGNORED", "LM STUDIO WOULD GET: POST /v1/chat/completions"):
        assert part in shown
    assert re.search(r"chat\.yaml:\d+", shown)
    assert "options.x" in shown
    assert SCRIPT in shown, "what was asked stands in the form, to be changed"
    assert [] == posted(fresh)


async def test_what_each_route_makes_of_a_name(fresh: Pair) -> None:
    """Where it goes, which model it is, what that can, and why not."""
    await fresh.get("/health")
    person = await person_at(fresh.client, fresh.url)
    page = await fresh.client.get("/olgate/")
    answer = await ask(person, model=f"{LOADED}:latest")
    rows = {
        row[0]: row[1:]
        for line in re.findall(r"<tr.*?</tr>", answer.text)
        if (row := [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)])
    }

    assert f'name="model" value="{LOADED}:latest"' in page.text
    assert 200 == answer.status_code
    chat = rows["POST /api/chat"]
    assert ["sent POST /v1/chat/completions", f"{LOADED}:latest", LOADED] == [
        chat[0].strip().replace("  ", " "),
        *chat[1:3],
    ]
    assert "completion" in chat[5]
    assert "does not support embeddings" in rows["POST /api/embed"][0]
    assert "refused:" in rows["POST /api/embed"][0]
    assert "POST /v1/messages" in rows
    assert [] == posted(fresh)


async def test_of_several_hosts_the_one_that_would_serve_is_named() -> None:
    """A drained one is left out, as it is for requests."""
    async with (
        open_fleet({"models": (PLAIN,)}, {"models": (PLAIN, GRADED)}) as fleet,
        speak_to(fleet.url) as client,
    ):
        person = await person_at(client, fleet.url)
        body = json.dumps({"model": GRADED.key, "messages": [{"role": "user", "content": "Hi"}]})
        there = await ask(person, text=body, route="/api/chat")
        await fleet.client.post("/olgate/drain", headers={"x-olgate-host": "b"})
        drained = await ask(person, text=body, route="/api/chat")

    assert "LM STUDIO WOULD GET: POST /v1/chat/completions on b" in there.text
    assert "the host b is left out: it is drained" in drained.text
    assert "not found" in drained.text


async def test_a_kept_exchange_is_explained_and_becomes_a_case() -> None:
    """From the last requests on the page; the file runs, and explains itself."""
    async with open_pair({"inspect": {"requests": 5}}) as pair:
        body = {
            "model": LOADED,
            "messages": [{"role": "user", "content": "Tide?"}],
            "stream": False,
        }
        asked = await pair.client.post("/api/chat", json=body)
        person = await person_at(pair.client, pair.url)
        page = await pair.client.get("/olgate/")
        (identifier,) = re.findall(r'name="exchange" value="([^"]+)"', page.text)
        shown = await ask(person, exchange=identifier)
        case = await ask(person, case=identifier)
        gone = [await ask(person, **{name: "no-such"}) for name in ("exchange", "case")]

    assert asked.headers["x-request-id"] == identifier
    assert 200 == shown.status_code
    assert "LM STUDIO WOULD GET" in shown.text
    assert f'name="case" value="{identifier}"' in shown.text
    assert 'attachment; filename="report.yaml"' == case.headers["content-disposition"]
    assert case.headers["content-type"].startswith("text/plain")
    assert "Tide?" in json.dumps(json.loads(case.text), ensure_ascii=False)
    assert [404, 404] == [one.status_code for one in gone]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": "{"}, "is not JSON"),
        ({"text": "{}"}, "--route"),
        ({"text": "curl http://h/api/chat -d @/etc/passwd"}, "no file is read here"),
        ({"text": '{"case": "a/b", "settings": {"store": {"path": "/x"}}}'}, "olgate explain FILE"),
    ],
    ids=["no-json", "no-route", "a-file", "a-case"],
)
async def test_what_cannot_be_explained_says_why(
    fresh: Pair, fields: dict[str, str], said: str
) -> None:
    """And no file of the gateway's machine is read."""
    person = await person_at(fresh.client, fresh.url)
    answer = await ask(person, **fields)

    assert 422 == answer.status_code
    assert said in html.unescape(answer.text)
    assert "root:" not in answer.text


async def test_nothing_and_too_much_are_refused(
    fresh: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is explained."""
    person = await person_at(fresh.client, fresh.url)
    assert 400 == (await ask(person, text="  ")).status_code
    assert 400 == (await ask(person, text="x" * explaining.MOST_BYTES)).status_code


@pytest.mark.parametrize("settings", [{}, LOCKED], ids=["open", "locked"])
async def test_only_a_page_of_the_gateway_may_ask(settings: dict[str, Any]) -> None:
    """An explanation costs a process and a second."""
    async with open_pair(settings) as pair:
        await log_in(pair)
        person = await person_at(pair.client, pair.url)
        data = {"model": LOADED, "token": person.token}
        foreign = {"origin": "http://localhost:3000"}
        codes = [
            (await pair.client.post(EXPLAIN, data=data, headers=foreign)).status_code,
            (await pair.client.post(EXPLAIN, data=data)).status_code,
            (
                await pair.client.post(EXPLAIN, data={**data, "token": "x"}, headers=person.origin)
            ).status_code,
            (await pair.client.get(EXPLAIN)).status_code,
        ]

    assert [403, 403, 403, 405] == codes
