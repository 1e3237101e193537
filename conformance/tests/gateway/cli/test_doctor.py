"""`olgate doctor`: what each check finds, and what it says to do."""

import asyncio
import json
import os
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conformance.standin import StandIn
from conformance.standin.options import Options
from conformance.standin.script import Rule
from conformance.tests.gateway.support import LOAD, open_gateway, open_pair
from gateway.catalogue.advice import GET_A_MODEL, renew_token, set_token, start_it
from gateway.cli.checks import CHECKS, Finding, Scene, run_checks
from gateway.cli.port_holder import find_holder, how_to_find
from gateway.settings.host_keys import UPSTREAM_KEYS
from gateway.settings.schema import ListenSettings, Settings, StoreSettings, UpstreamSettings
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite_file import NEWEST_VERSION


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


async def examine(url: str, **more: Any) -> dict[str, Finding]:
    """Run all checks against an upstream, and return what they found by name."""
    upstream = UpstreamSettings(url=url, **more.pop("upstream", {}))
    more.setdefault("listen", ListenSettings(port=0))
    found = await run_checks(Scene(Settings(upstream=upstream, **more), None))
    assert [check.name for check in CHECKS] == [one.check for one in found]
    for one in found:
        assert one.do or one.verdict in ("ok", "skipped"), one
    return {one.check: one for one in found}


@asynccontextmanager
async def standing(*rules: Mapping[str, Any], **options: Any) -> AsyncIterator[StandIn]:
    """Run a stand-in that follows some rules."""
    async with StandIn(Options(**options)) as standin:
        standin.app.script.add([msgspec.convert(dict(rule), Rule) for rule in rules])
        yield standin


def says(path: str, text: str, status: int = 200, **headers: str) -> dict[str, Any]:
    """Return a rule for paths of the stand-in."""
    answer = {"status": status, "chunks": [[0, text]], "headers": headers or None}
    return {"match": {"path": path}, "answer": answer}


async def test_all_is_well(tmp_path: Path) -> None:
    """LM Studio with models: nothing is wrong, nothing is loaded, and no file is made."""
    file = tmp_path / "olgate.sqlite3"
    async with standing() as standin:
        found = await examine(standin.url, store=StoreSettings(path=str(file)))
        assert {"ok"} == {one.verdict for one in found.values()} - {"hint"}
        assert f"LM Studio answers at {standin.url}" == found["server"].found
        assert "no token is needed" == found["token"].found
        assert "8 models, 2 loaded (dialect v1)" == found["models"].found
        assert f"{file} will be made" == found["store"].found
        assert "as on LM Studio's machine" in found["clock"].found
        assert 2 == len(standin.app.host.table.instances)
    assert [] == os.listdir(tmp_path)


async def test_nobody_is_there() -> None:
    """One check says so with the next step, and those that need it are skipped."""
    found = await examine(f"http://127.0.0.1:{free_port()}")
    assert ("wrong", start_it(UPSTREAM_KEYS)) == (found["upstream"].verdict, found["upstream"].do)
    assert "can't connect to" in found["upstream"].found
    for name in ("server", "token", "models", "loading"):
        assert "skipped" == found[name].verdict


@pytest.mark.parametrize(
    ("rules", "verdict", "said"),
    [
        ([says("/[!_]*", "<title>Router</title>"), says("/", "<p>")], "wrong", "a web server"),
        (
            [
                says("/", "Ollama is running"),
                says("/v1/models", '{"data": []}'),
                says("/[!_]*", "404 page not found", 404),
            ],
            "hint",
            "an Ollama answers at",
        ),
        (
            [says("/v1/models", '{"data": []}', Server="llama.cpp"), says("/[!_]*", "{}", 404)],
            "hint",
            "llama.cpp answers at",
        ),
    ],
)
async def test_another_server_is_named(
    rules: list[dict[str, Any]], verdict: str, said: str
) -> None:
    """One that has models is a hint, any other is wrong."""
    async with standing(*rules) as standin:
        found = await examine(standin.url)
        assert verdict == found["server"].verdict
        assert found["server"].found.startswith(said)
        assert found["server"].do
        assert not found["loading"].do.startswith("update LM Studio")


async def test_the_gateway_itself_is_recognised() -> None:
    """As a setting, before anything is asked; another gateway that runs is fine."""
    port = free_port()
    found = await examine(f"http://localhost:{port}", listen=ListenSettings(port=port))
    assert "wrong" == found["port"].verdict
    assert "the gateway would call itself" in found["port"].found
    async with open_pair() as pair:
        listen = ListenSettings(port=int(pair.url.rpartition(":")[2]))
        found = await examine(pair.standin.url, listen=listen)
        assert ("ok", f"an olgate answers at 127.0.0.1:{listen.port}") == found["port"][1:3]


async def test_an_ollama_on_the_port_is_named() -> None:
    """The commonest reason for a port that is taken; on Linux with its process."""
    async with standing(
        says("/", "Ollama is running"), says("/[!_]*", "404 page not found", 404)
    ) as standin:
        found = await examine("http://127.0.0.1:9", listen=ListenSettings(port=standin.port))
        assert "wrong" == found["port"].verdict
        assert f"127.0.0.1:{standin.port} is taken: Ollama answers there" in found["port"].found
        assert "stop it, or choose another port with --port" in found["port"].do
        if sys.platform == "linux":
            assert f"(process {os.getpid()})" in found["port"].found


def test_the_holder_of_a_port_is_found_in_linux_s_tables(tmp_path: Path) -> None:
    """By the socket's number in the table of connections, and among a process's files."""
    head = "  sl  local_address rem_address   st\n"
    row = "   0: 0100007F:2CAA 00000000:0000 {} 00000000:00000000 00:00000000 00000000 0 0 4711 1\n"
    (tmp_path / "net").mkdir()
    table = tmp_path / "net" / "tcp"
    table.write_text(head + row.format("0A"))
    files = tmp_path / "99" / "fd"
    files.mkdir(parents=True)
    (tmp_path / "99" / "comm").write_text("ollama\n")
    (files / "3").symlink_to("socket:[4711]")
    (tmp_path / "100" / "fd").mkdir(parents=True)

    assert "ollama (process 99)" == find_holder(11434, tmp_path)
    assert None is find_holder(11435, tmp_path)
    table.write_text(head + row.format("01"))
    assert None is find_holder(11434, tmp_path), "a connection that only has this port"
    assert None is find_holder(11434, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("platform", "command"), [("win32", "netstat"), ("darwin", "lsof"), ("linux", "ss -ltnp")]
)
def test_elsewhere_a_command_shows_the_holder(
    monkeypatch: pytest.MonkeyPatch, platform: str, command: str
) -> None:
    """One that the system brings."""
    monkeypatch.setattr(sys, "platform", platform)
    assert command in how_to_find(11434)
    assert "11434" in how_to_find(11434)


async def test_a_port_that_is_held_in_silence_is_wrong() -> None:
    """What does not speak HTTP holds it all the same."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        asked = asyncio.ensure_future(
            examine("http://127.0.0.1:9", listen=ListenSettings(port=port))
        )
        connection, _ = await asyncio.to_thread(holder.accept)
        connection.close()
        found = await asked
    assert "wrong" == found["port"].verdict
    assert f"port {port} on 127.0.0.1 is taken" in found["port"].found


@pytest.mark.parametrize(
    ("token", "verdict", "said", "do"),
    [
        (None, "wrong", "LM Studio wants a token", set_token(UPSTREAM_KEYS)),
        ("old", "wrong", "LM Studio refuses the token", renew_token(UPSTREAM_KEYS)),
        ("right", "ok", "the token is accepted", ""),
    ],
)
async def test_the_token(token: str | None, verdict: str, said: str, do: str) -> None:
    """Missing, wrong and right."""
    async with standing(token="right") as standin:
        found = await examine(standin.url, upstream={"token": token})
        assert (verdict, said, do) == found["token"][1:]


async def test_a_token_that_may_not_load() -> None:
    """It lists models, and every first request of a model would fail."""
    refusal = says(LOAD, '{"error": {"message": "No.", "code": "forbidden"}}', 403)
    async with standing(refusal, token="right") as standin:
        found = await examine(standin.url, upstream={"token": "right"})
        assert "wrong" == found["loading"].verdict
        assert "the token may list models, but not load them" == found["loading"].found


async def test_an_older_host_and_one_without_models() -> None:
    """Both work, and both are worth a hint."""
    async with standing(host_version="0.3") as standin:
        found = await examine(standin.url)
        assert "hint" == found["loading"].verdict
        assert "dialect v0" in found["loading"].found
        assert found["loading"].do.startswith("update LM Studio to 0.4 for ")
    async with standing(models=()) as standin:
        found = await examine(standin.url)
        assert ("hint", "there are no models", GET_A_MODEL) == found["models"][1:]


async def test_the_clocks_are_compared() -> None:
    """Times of models would be off by as much."""
    async with standing() as standin:
        scene = Scene(Settings(upstream=UpstreamSettings(url=standin.url)), None)
        scene.greeting = await scene.upstream.probe("/lmstudio-greeting")
        late = [(b"date", b"Mon, 01 Jan 2024 00:00:00 GMT")]
        scene.greeting = scene.greeting._replace(headers=late)
        clock = next(check for check in CHECKS if check.name == "clock")
        verdict, said, do = await clock.look(scene)
        assert ("wrong", True) == (verdict, "2024-01-01 00:00:00 UTC" in said)
        assert "NTP" in do
        await scene.upstream.aclose()


async def test_a_store_that_cannot_be_used(tmp_path: Path) -> None:
    """Not a database, one of a newer olgate, one that is locked, and one in memory."""
    file = tmp_path / "a.db"
    store = StoreSettings(path=str(file))
    nobody = f"http://127.0.0.1:{free_port()}"

    file.write_text("This is no database, however long it is." * 50)
    found = (await examine(nobody, store=store))["store"]
    assert ("wrong", True) == (found.verdict, "not a database" in found.found)
    assert "move it away" in found.do

    file.unlink()
    SqliteStore(str(file)).close()
    found = (await examine(nobody, store=store))["store"]
    assert ("ok", f"{file} is writable, version {NEWEST_VERSION}") == found[1:3]

    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        found = (await examine(nobody, store=store))["store"]
        assert ("hint", f"{file} is locked by another program at this moment") == found[1:3]
        other.rollback()
        other.execute(f"PRAGMA user_version = {NEWEST_VERSION + 1}")
    found = (await examine(nobody, store=store))["store"]
    assert ("wrong", True) == (found.verdict, "a newer olgate has written it" in found.found)

    found = (await examine(nobody))["store"]
    assert ("hint", True) == (found.verdict, found.found.startswith("in memory"))


async def test_gateways_on_the_store_are_counted(tmp_path: Path) -> None:
    """Each shows that it is alive, next to the file."""
    path = str(tmp_path / "a.db")
    settings = {"store": {"path": path}}
    store = StoreSettings(path=path)
    async with StandIn() as standin:
        async with open_gateway(standin, settings), open_gateway(standin, settings):
            found = await examine(standin.url, store=store)
            assert "2 gateways use the store; each unloads only what it loaded" == (
                found["gateways"].found
            )
        found = await examine(standin.url, store=store)
        assert "no gateway uses the store" == found["gateways"].found


async def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Run the command in a process of its own, and return its exit code and what it says."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "SYSTEMROOT")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *arguments,
        env=kept | {"HOME": "/nonexistent"} | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(), complained.decode()


async def test_the_command_ends_with_0_or_1(tmp_path: Path) -> None:
    """A line for each check with its next step below; JSON has the same."""
    store = {"OLGATE_STORE_PATH": str(tmp_path / "a.db"), "OLGATE_LISTEN_PORT": "0"}
    async with standing() as standin:
        code, said, complained = await run("doctor", "--upstream", standin.url, **store)
        assert (0, "") == (code, complained)
        assert f"\nok     server      LM Studio answers at {standin.url}\n" in said
    code, said, complained = await run("doctor", "--upstream", standin.url, "--json", **store)
    assert (1, "") == (code, complained)
    found = json.loads(said)
    assert found["ok"] is False
    upstream = next(one for one in found["checks"] if one["check"] == "upstream")
    assert ("wrong", start_it(UPSTREAM_KEYS)) == (upstream["verdict"], upstream["do"])


async def test_wrong_settings_are_a_finding() -> None:
    """The doctor says what `serve` would say, and looks no further."""
    code, said, complained = await run("doctor", "--json", OLGATE_LISTEN_PRT="1")
    assert (1, "") == (code, complained)
    (only,) = json.loads(said)["checks"]
    assert ("settings", "wrong") == (only["check"], only["verdict"])
    assert "did you mean OLGATE_LISTEN_PORT?" in only["found"]
