"""The reload of settings while the gateway runs: what changes, who may ask, what a fault does."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.soak.gateway import Gateway, run_gateway
from conformance.standin import StandIn
from conformance.standin.script import Match, Rule
from conformance.tests.gateway.support import CHAT, LOADED, chat, speak_to
from gateway.server.keys import KeyGate
from gateway.server.reloading import Reloads
from gateway.settings.live import RELOADED, LiveSettings
from gateway.settings.paths import HINTS, KEYS, MAPS
from gateway.settings.schema import ListenSettings, Settings
from gateway.settings.sources import SettingsProblem

HAS_HANGUP = pytest.mark.skipif(
    not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP; olgate reload is tested"
)


@asynccontextmanager
async def running(file: Path, standin: StandIn) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    """Run a gateway with a settings file, and lend a client for it."""
    environ = {"OLGATE_CONFIG": str(file)}
    async with (
        run_gateway(standin.url, environ) as gateway,
        speak_to(gateway.url) as client,
    ):
        yield gateway, client


async def reload(gateway: Gateway, file: Path, way: str) -> str:
    """Have the settings read anew in one of two ways; return what the command printed."""
    if way == "signal":
        gateway.process.send_signal(signal.SIGHUP)
        await gateway.until_said("settings ")
        return ""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "reload", "--port", gateway.url.rpartition(":")[2]),
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "OLGATE_CONFIG": str(file)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("way", [pytest.param("signal", marks=HAS_HANGUP), "command"])
async def test_keys_and_aliases_change_under_a_running_stream(way: str, tmp_path: Path) -> None:
    """The old key is refused and the new one opens; the stream that runs comes to its end."""
    file = tmp_path / "config.toml"
    file.write_text('[listen]\nkeys = ["old"]\n')
    async with StandIn() as standin, running(file, standin) as (gateway, client):
        standin.app.script.add([Rule(match=Match(path=CHAT), hold="rest", after=3)])
        body = chat(stream=True)
        async with client.stream("POST", "/api/chat", json=body, headers=bearer("old")) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            more = f'[limits]\nhealth_s = 9\n[aliases]\nmine = "{LOADED}"\n'
            file.write_text(f'[listen]\nkeys = ["new"]\n{more}')
            said = await reload(gateway, file, way)
            await gateway.until_said("settings reloaded changed=")
            refused = await client.get("/api/version", headers=bearer("old"))
            shown = await client.post("/api/show", json={"model": "mine"}, headers=bearer("new"))
            standin.app.script.release("rest")
            rest = [line async for line in lines]
        assert '"done":true' in rest[-1]
        assert (401, 200) == (refused.status_code, shown.status_code)
        line = next(line for line in gateway.lines if "settings reloaded" in line)
        assert 'changed="listen.keys,aliases"' in line
        if way == "command":
            assert said == "in force now: listen.keys, aliases\nneeds a restart: limits.health_s\n"


@pytest.mark.parametrize("way", [pytest.param("signal", marks=HAS_HANGUP), "command"])
async def test_a_faulty_file_changes_nothing_and_says_so(way: str, tmp_path: Path) -> None:
    """Not even what is right in it."""
    file = tmp_path / "config.toml"
    file.write_text('[listen]\nkeys = ["old"]\n')
    async with StandIn() as standin, running(file, standin) as (gateway, client):
        file.write_text('[listen]\nkeys = ["new"]\n[aliases]\n"a b" = "x"\n')
        said = await reload(gateway, file, way)
        if way == "signal":
            await gateway.until_said("settings not reloaded; nothing was changed")
            assert "the key is not a model's name" in "".join(gateway.lines)
        else:
            assert said.endswith("aliases.a b: the key is not a model's name\n")
        for key, status in (("old", 200), ("new", 401)):
            answer = await client.get("/api/version", headers=bearer(key))
            assert status == answer.status_code


async def test_the_level_of_the_log_follows(tmp_path: Path) -> None:
    """Loggers that exist write what the new level allows, and no more."""
    file = tmp_path / "config.toml"
    file.write_text('[log]\nlevel = "error"\n')
    async with StandIn() as standin, running(file, standin) as (gateway, client):
        await client.get("/api/version")
        file.write_text('[log]\nlevel = "info"\n')
        answer = await client.post("/reload")
        assert {"changed": ["log.level"], "needs_restart": []} == answer.json()
        await client.get("/api/tags")
        await gateway.until_said("path=/api/tags")
        assert not any("path=/api/version" in line for line in gateway.lines)


def settings_with(*keys: str, **more: Any) -> Settings:
    return Settings(listen=ListenSettings(keys=keys), **more)


def scope_of(address: str | None, **headers: str) -> dict[str, Any]:
    """Return a request's scope."""
    client = (address, 1) if address is not None else None
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "path": "/reload", "client": client, "headers": pairs}


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        (scope_of("127.0.0.1", authorization="Bearer old"), 200),
        (scope_of("::1", authorization="Bearer new"), 200),
        (scope_of("127.0.0.1"), 401),
        (scope_of("127.0.0.1", authorization="Bearer other"), 401),
        (scope_of("10.0.0.5", authorization="Bearer old"), 403),
        (scope_of(None, authorization="Bearer old"), 403),
        (scope_of("127.0.0.1", authorization="Bearer old", origin="app://x"), 403),
    ],
)
def test_who_may_ask_with_keys(scope: dict[str, Any], status: int) -> None:
    """A caller on this machine with a key of before or of after; no page, no other machine."""
    live = LiveSettings(settings_with("old"), lambda: settings_with("new"))

    assert status == Reloads(live).answer(scope)[0]
    assert ("new",) if status == 200 else ("old",) == live.current.listen.keys


def test_who_may_ask_without_keys() -> None:
    """Any caller on this machine if there are none before or none after."""
    for before, after in ((settings_with(), settings_with("a")), (settings_with("a"), Settings())):
        live = LiveSettings(before, lambda after=after: after)  # type: ignore[misc]  # a default has no type
        assert 200 == Reloads(live).answer(scope_of("127.0.0.1"))[0]


def test_a_problem_is_told_to_those_with_a_key_only() -> None:
    """The sentence can quote the file."""

    def reread() -> Settings:
        raise SettingsProblem("a sentence with a path")

    reloads = Reloads(LiveSettings(settings_with("old"), reread))
    status, body = reloads.answer(scope_of("127.0.0.1", authorization="Bearer old"))
    refused, told = reloads.answer(scope_of("127.0.0.1"))

    assert (422, 401) == (status, refused)
    assert b"nothing was changed: a sentence with a path" in body
    assert b"sentence" not in told


def test_all_is_used_or_nothing() -> None:
    """One user that cannot use the new settings keeps all others at the old ones."""
    live = LiveSettings(settings_with("old"), lambda: settings_with("new"))
    gate = KeyGate(live.current)
    live.watch(gate.prepare)

    def refuse(_: Settings) -> Any:
        raise SettingsProblem("no")

    live.watch(refuse)
    with pytest.raises(SettingsProblem):
        live.use(live.reread())

    assert ("old",) == live.current.listen.keys
    assert () == gate(scope_of("127.0.0.1", authorization="Bearer old") | {"path": "/"}, Settings())


def test_what_needs_a_restart_stays_as_it_was() -> None:
    """It is told, and the settings in force go on to say what is in force."""
    other = Settings(listen=ListenSettings(port=1, keys=("k",)), aliases={"a": "b"})
    live = LiveSettings(Settings(), lambda: other)
    change = live.use(live.reread())

    assert (("listen.keys", "aliases"), ("listen.port",)) == change
    assert 11434 == live.current.listen.port
    assert {"a": "b"} == live.current.aliases
    assert {*HINTS, *MAPS, KEYS} >= RELOADED
    assert ((), ("listen.port",)) == live.use(other)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
async def test_a_terminal_that_is_closed_ends_the_gateway(tmp_path: Path) -> None:
    """SIGHUP comes then, too; without a terminal it is a reload."""
    import pty

    leader, follower = pty.openpty()
    program = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "os.execv(sys.executable, [sys.executable, '-m', 'gateway', 'serve', '--port', '0'])"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OLGATE_STORE_PATH": ":memory:"},
        stdin=follower,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(follower)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while b"listening on" not in await process.stderr.readline():
                assert process.returncode is None
            process.send_signal(signal.SIGHUP)
            while b"settings reloaded" not in await process.stderr.readline():
                assert process.returncode is None
            os.close(leader)
            assert 0 == await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
