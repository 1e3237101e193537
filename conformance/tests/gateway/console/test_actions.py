"""What is done on the page: loads, unloads, pulls and drained hosts, and for whom it is done."""

import asyncio
import html
import json
import re
from collections.abc import Callable
from hashlib import sha256

import httpx
import pytest

from conformance.standin.catalogue import GRADED, PLAIN
from conformance.tests.gateway.console.test_page import (
    KEY,
    LOCKED,
    LOGIN,
    PAGE,
    SCRIPT,
    cookie_in,
    log_in,
    looking,
)
from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.support import COLD, LOAD, LOADED, Pair, open_pair, speak_to
from gateway.console import acting
from gateway.server.edge import Edge

ACT = "/olgate/act"
DOWNLOAD = "/api/v1/models/download"
PULLED = "harbor/beacon-9b"


def order(verb: str, **more: str) -> str:
    """Return what a button of the page sends."""
    return json.dumps({"do": verb, **more})


def token_of(page: str) -> str:
    """Return the token in the page's forms."""
    tokens: set[str] = set(re.findall(r'name="token" value="([0-9a-f]+)"', page))
    assert 1 == len(tokens)
    return tokens.pop()


class Person:
    """Somebody at a browser, with the page open."""

    def __init__(self, client: httpx.AsyncClient, url: str, token: str) -> None:
        self.client = client
        self.origin = {"origin": url}
        self.token = token

    async def act(self, do: str, **more: str) -> httpx.Response:
        """Press a button."""
        data = {"token": self.token, "do": do, **more}
        return await self.client.post(ACT, data=data, headers=self.origin)

    async def page(self) -> str:
        """Return the page as it is now."""
        return html.unescape((await self.client.get(PAGE)).text)

    async def until(self, holds: Callable[[str], object]) -> str:
        """Follow the section of the actions until something is so, and return it."""
        async with looking(self.client) as stream:
            await stream.until(lambda shown: holds(shown["actions"]))
            return stream.sections["actions"]


async def person_at(client: httpx.AsyncClient, url: str) -> Person:
    """Open the page."""
    page = await client.get(PAGE)
    assert 200 == page.status_code
    return Person(client, url, token_of(page.text))


# -- what is done ----------------------------------------------------------------------------


async def test_a_model_is_loaded_and_unloaded(fresh: Pair) -> None:
    """By the same requests that a client sends; a browser is led back to the page."""
    person = await person_at(fresh.client, fresh.url)
    begun = await person.act(order("load", model=COLD))
    await person.until(lambda shown: f"{COLD} is loaded" in shown)
    there = fresh.instances(COLD)
    await person.act(order("unload", model=COLD))
    shown = await person.until(lambda shown: f"{COLD} is unloaded" in shown)

    assert (303, PAGE) == (begun.status_code, begun.headers["location"])
    assert [COLD] == [body["model"] for body in fresh.bodies(LOAD)]
    assert [COLD] == there
    assert [] == fresh.instances(COLD)
    assert shown.index("Unload") < shown.index("is loaded"), "the last one comes first"


async def test_a_script_gets_a_sentence(fresh: Pair) -> None:
    """In place of being led to the page."""
    person = await person_at(fresh.client, fresh.url)
    person.origin["accept"] = "application/json"
    begun = await person.act(order("load", model=COLD))
    wrong = await person.act(order("load"))
    await person.until(lambda shown: "is loaded" in shown)

    assert (202, {"said": f"Begun: Load {COLD}."}) == (begun.status_code, begun.json())
    assert (400, {"said": "Say which model."}) == (wrong.status_code, wrong.json())


async def test_a_pull_shows_how_far_it_is() -> None:
    """The name is typed into a field; the bar counts bytes."""
    rule = {"match": {"path": f"{DOWNLOAD}/status/*"}, "hold": "half", "nth": 2}
    async with open_pair({"downloads": {"poll_interval_s": 0.01}}) as pair:
        pair.script(rule)
        person = await person_at(pair.client, pair.url)
        await person.act(order("pull"), model=f" {PULLED} ")
        bar = await person.until(lambda shown: "<progress" in shown)
        pair.release("half")
        shown = await person.until(lambda shown: "is here" in shown)

    (most,) = re.findall(r'<progress max="(\d+)" value="\d+"', bar)
    assert int(most) > 0
    assert f"{PULLED} is here" in shown
    assert "<progress" not in shown


async def test_a_host_is_drained_and_taken_back() -> None:
    """Its requests go elsewhere meanwhile; what is loaded on one host is unloaded there only."""
    hosts = {"models": (PLAIN, GRADED)}
    async with open_fleet(hosts, hosts) as fleet, speak_to(fleet.url) as client:
        person = await person_at(client, fleet.url)
        assert '"do": "drain", "host": "b"' in await person.page()
        await person.act(order("drain", host="b"))
        await person.until(lambda shown: "b is drained" in shown)
        state = (await fleet.get("/health"))["hosts"]["b"]["state"]
        page = await person.page()
        await person.act(order("unload", model=PLAIN.key, host="b"))
        await person.until(lambda shown: "is unloaded" in shown)
        left = [fleet.instances(name, PLAIN.key) for name in "ab"]
        await person.act(order("load", model=PLAIN.key, host="b"))
        refused = await person.until(lambda shown: "olgate undrain b" in shown)
        await person.act(order("undrain", host="b"))
        await person.until(lambda shown: "b gets requests again" in shown)
        again = (await fleet.get("/health"))["hosts"]["b"]["state"]

    assert ("drained", "up") == (state, again)
    assert '"do": "undrain", "host": "b"' in page
    assert [1, 0] == [len(each) for each in left]
    assert 'class="reason"' in refused


async def test_with_one_host_there_is_nothing_to_drain(fresh: Pair) -> None:
    """No button, and a sentence for who asks all the same."""
    person = await person_at(fresh.client, fresh.url)
    assert '"do": "drain"' not in await person.page()
    await person.act(order("drain", host=fresh.standin.url.removeprefix("http://")))
    await person.until(lambda shown: "this gateway has one host" in shown)


async def test_what_fails_says_why(fresh: Pair) -> None:
    """In the words that a client gets."""
    person = await person_at(fresh.client, fresh.url)
    await person.act(order("load", model="nobody-has-it"))
    shown = await person.until(lambda shown: "nobody-has-it:latest&#39; not found" in shown)
    assert 'class="reason"' in shown


# -- for whom --------------------------------------------------------------------------------


async def test_a_session_acts_with_its_key_and_leaves_a_line() -> None:
    """The key is in nothing that is shown."""
    async with open_pair(LOCKED) as pair:
        await log_in(pair)
        person = await person_at(pair.client, pair.url)
        await person.act(order("load", model=COLD))
        await person.until(lambda shown: f"{COLD} is loaded" in shown)
        page = await person.page()

    assert "POST /api/generate" in page
    assert "olgate page" in page
    assert KEY not in page


async def test_what_a_key_may_not_it_may_not_here() -> None:
    """A key that may change the gateway, and not use a model."""
    tables = {
        "chief": {
            "digest": sha256(b"chief").hexdigest(),
            "admin": True,
            "models": ["nothing/*"],
        }
    }
    async with open_pair({"keys": tables}) as pair:
        await log_in(pair, "chief")
        person = await person_at(pair.client, pair.url)
        await person.act(order("load", model=COLD))
        await person.until(lambda shown: "not found" in shown)
        assert [] == pair.instances(COLD)


Change = Callable[[Person, dict[str, str], dict[str, str]], None]


def no_token(_: Person, data: dict[str, str], __: dict[str, str]) -> None:
    """Leave the token out."""
    del data["token"]


def guessed_token(_: Person, data: dict[str, str], __: dict[str, str]) -> None:
    """Bring another one."""
    data["token"] = "0" * 64


def odd_token(_: Person, data: dict[str, str], __: dict[str, str]) -> None:
    """Bring one that can't be one."""
    data["token"] = "\u2028é"


def foreign_origin(_: Person, __: dict[str, str], headers: dict[str, str]) -> None:
    """Come from another page."""
    headers["origin"] = "http://evil.example"


def near_origin(_: Person, __: dict[str, str], headers: dict[str, str]) -> None:
    """Come from a page of another port, which Ollama's routes allow."""
    headers["origin"] = "http://localhost:3000"


def no_origin(_: Person, __: dict[str, str], headers: dict[str, str]) -> None:
    """Come from nowhere, as no browser does."""
    del headers["origin"]


def forged_cookie(person: Person, _: dict[str, str], headers: dict[str, str]) -> None:
    """Bring a cookie that nobody was given."""
    person.client.cookies.clear()
    headers["cookie"] = f"olgate_session={'A' * 43}"


CHANGES: tuple[Change, ...] = (
    no_token,
    guessed_token,
    odd_token,
    foreign_origin,
    near_origin,
    no_origin,
    forged_cookie,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(change.__name__))
async def test_a_forged_form_does_nothing(change: Change) -> None:
    """Whatever of it is wrong, it is refused, and LM Studio hears nothing."""
    async with open_pair(LOCKED) as pair:
        await log_in(pair)
        person = await person_at(pair.client, pair.url)
        data = {"token": person.token, "do": order("unload", model=LOADED)}
        headers = dict(person.origin)
        change(person, data, headers)
        answer = await pair.client.post(ACT, data=data, headers=headers)
        there = pair.instances(LOADED)

    assert answer.status_code in (401, 403)
    # Ollama's rule for foreign origins, which has no text, comes before the page's own.
    assert change is foreign_origin or re.search(r'<p id="reason">\w+', answer.text)
    assert [LOADED] == there


async def test_a_token_is_of_one_session() -> None:
    """That of another one, or of who has shown no key, is refused."""
    async with open_pair(LOCKED) as pair:
        first = cookie_in(await log_in(pair))
        pair.client.cookies.clear()
        second = cookie_in(await log_in(pair, "another"))
        pair.client.cookies.clear()
        bare = await pair.client.get(PAGE, headers={"authorization": f"Bearer {KEY}"})
        tokens = {
            cookie: token_of((await pair.client.get(PAGE, headers={"cookie": cookie})).text)
            for cookie in (first, second)
        }
        codes = []
        for token in (tokens[second], token_of(bare.text), tokens[first]):
            pair.client.cookies.clear()
            answer = await pair.client.post(
                ACT,
                data={"token": token, "do": order("load", model=COLD)},
                headers={"cookie": first, "origin": pair.url},
            )
            codes.append(answer.status_code)

    assert [403, 403, 303] == codes


async def test_who_has_no_right_does_nothing() -> None:
    """A key that may not change the gateway gets no page, so it has no token either."""
    tables = {
        name: {"digest": sha256(name.encode()).hexdigest(), "admin": name == "chief"}
        for name in ("chief", "guest")
    }
    async with open_pair({"keys": tables}) as pair:
        await log_in(pair, "chief")
        person = await person_at(pair.client, pair.url)
        pair.client.cookies.clear()
        answers = [
            await pair.client.post(
                ACT,
                data={"token": person.token, "do": order("unload", model=LOADED)},
                headers={**person.origin, **headers},
            )
            for headers in ({"authorization": "Bearer guest"}, {})
        ]
        there = pair.instances(LOADED)

    assert [403, 401] == [each.status_code for each in answers]
    assert "keys.NAME.admin" in answers[0].text
    assert [LOADED] == there


async def test_a_link_does_nothing(fresh: Pair) -> None:
    """Only a form does, without anything in its address."""
    person = await person_at(fresh.client, fresh.url)
    linked = await fresh.client.get(ACT)
    asked = await fresh.client.post(
        f"{ACT}?key=x",
        data={"token": person.token, "do": order("unload", model=LOADED)},
        headers=person.origin,
    )

    assert [405, 400] == [linked.status_code, asked.status_code]
    assert [LOADED] == fresh.instances(LOADED)


# -- bad input and bounds --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "more"),
    [
        ("", {}),
        ("{", {}),
        ("[]", {}),
        ('{"do": 7}', {}),
        ('{"do": {"a": 1}}', {}),
        (order("explode", model="m"), {}),
        (order("load"), {}),
        (order("load", model="   "), {}),
        (order("drain"), {"model": "m"}),
        (order("load", model="m" * 513), {}),
        (order("drain", host="h" * 65), {}),
        (order("stop", id="no-such"), {}),
    ],
    ids=range(12),
)
async def test_a_form_that_makes_no_sense_is_refused(
    fresh: Pair, do: str, more: dict[str, str]
) -> None:
    """With a sentence."""
    person = await person_at(fresh.client, fresh.url)
    before = len(fresh.standin.seen)
    answer = await person.act(do, **more)

    assert answer.status_code in (400, 404)
    assert re.search(r'<p id="reason">\w+', answer.text)
    assert before == len([one for one in fresh.standin.seen if one.method == "POST"]) or all(
        one.method == "GET" for one in fresh.standin.seen[before:]
    )


async def test_names_are_escaped(fresh: Pair) -> None:
    """A name is whatever somebody has typed."""
    person = await person_at(fresh.client, fresh.url)
    await person.act(order("load", model=f"a'{SCRIPT}\"", host=""))
    shown = await person.until(lambda shown: "reason" in shown)
    page = (await fresh.client.get(PAGE)).text

    for text in (shown, page):
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text


async def test_actions_are_bounded_and_can_be_stopped(
    fresh: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is told so; there is room again once one is stopped."""
    monkeypatch.setattr(acting, "MOST_RUNNING", 2)
    fresh.script({"match": {"path": LOAD}, "hold": "load"})
    person = await person_at(fresh.client, fresh.url)
    for _ in range(2):
        assert 303 == (await person.act(order("load", model=COLD))).status_code
    await fresh.until_asked(LOAD)
    full = await person.act(order("load", model=COLD))
    running = await person.until(lambda shown: shown.count("Stop</button>") == 2)
    number = re.findall(r'&#34;id&#34;: &#34;(\S+?)&#34;|"id": "(\S+?)"', running)
    for found in number:
        await person.act(order("stop", id="".join(found)))
    stopped = await person.until(lambda shown: "Stop</button>" not in shown)
    after = await person.act(order("drain", host="x"))
    fresh.release("load")

    assert 429 == full.status_code
    assert "Wait until one has ended" in full.text
    assert 2 == stopped.count("it was stopped")
    assert 303 == after.status_code


async def test_only_a_few_are_remembered(fresh: Pair) -> None:
    """However many there were."""
    person = await person_at(fresh.client, fresh.url)
    for number in range(acting.KEPT + 5):
        await person.act(order("drain", host=f"host-{number}"))
        await person.until(lambda shown: "Stop</button>" not in shown)
    shown = await person.until(bool)

    assert acting.KEPT == shown.count("<li ")
    assert "host-4<" not in shown
    assert f"host-{acting.KEPT + 4}" in shown


async def test_the_end_of_the_gateway_ends_them() -> None:
    """A load that hangs does not keep the process."""
    async with open_pair() as pair:
        pair.script({"match": {"path": LOAD}, "hold": "load"})
        person = await person_at(pair.client, pair.url)
        await person.act(order("load", model=COLD))
        await pair.until_asked(LOAD)
        edge = pair.app.inner
        assert isinstance(edge, Edge)
        edge.drain()
        async with asyncio.timeout(60):
            while "it was stopped" not in await person.page():
                await pair.let_pass()
        pair.release("load")


async def test_the_form_for_a_key_needs_no_token() -> None:
    """Who has no session yet has no page with one."""
    async with open_pair(LOCKED) as pair:
        answer = await pair.client.post(LOGIN, data={"key": KEY}, headers={"origin": pair.url})
    assert 303 == answer.status_code
