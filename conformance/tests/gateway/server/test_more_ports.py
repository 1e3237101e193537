"""Further ports that stand for a key: over real sockets, as the settings file has them."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import trustme

from conformance.runner.restartable import free_port
from conformance.soak.gateway import Gateway, run_gateway
from conformance.standin import StandIn
from conformance.standin.script import Match, Rule
from conformance.tests.gateway.support import CHAT, COLD, LOADED, chat, speak_to
from gateway.cli.checks import Scene, run_checks
from gateway.server.listen import ListenProblem, bind_all, refuse_missing_keys
from gateway.settings.more_ports import addresses_of
from gateway.settings.schema import (
    KeySettings,
    ListenSettings,
    PortSettings,
    Settings,
    UpstreamSettings,
)
from gateway.settings.sources import SettingsProblem, load
from gateway.settings.written import as_toml

PATIENCE_S = 60.0
_FOR_A_KEY = re.compile(r"listening on (\S+) for the key (\w+)")


def digest(secret: str) -> str:
    """Return the digest of a secret, as a settings file has it."""
    return sha256(secret.encode()).hexdigest()


def settings_text(port: int = 0, more: str = "", keys: str = "") -> str:
    """Return a settings file with a port that stands for a key which may use one model."""
    return (
        f'[[listen.more]]\nport = {port}\nkey = "home"\n{more}\n'
        f'[keys.home]\ndigest = "{digest("of home")}"\nmodels = ["{LOADED}"]\n{keys}\n'
        f'[keys.alice]\ndigest = "{digest("of alice")}"\n'
        f'[keys.root]\ndigest = "{digest("of root")}"\nadmin = true\n'
    )


class Running(NamedTuple):
    """A gateway, its settings file, and a client of its main port and of its further one."""

    gateway: Gateway
    file: Path
    main: httpx.AsyncClient
    more: httpx.AsyncClient

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of requests in the log, which is JSON."""
        found = [json.loads(line) for line in self.gateway.lines if line.startswith("{")]
        return [line for line in found if line["event"] == "request"]


@asynccontextmanager
async def running(
    standin: StandIn, folder: Path, text: str, **environ: str
) -> AsyncIterator[Running]:
    """Run a gateway with a settings file."""
    file = folder / "olgate.toml"
    file.write_text(text, "utf-8")
    variables = {"OLGATE_CONFIG": str(file), "OLGATE_LOG_FORMAT": "json", **environ}
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(run_gateway(standin.url, variables))
        await gateway.until_said("for the key home")
        told = next(found for line in gateway.lines if (found := _FOR_A_KEY.search(line)))
        main = await stack.enter_async_context(speak_to(gateway.url))
        more = await stack.enter_async_context(speak_to(told[1]))
        yield Running(gateway, file, main, more)


def bearer(secret: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"authorization": f"Bearer {secret}"}


async def test_a_port_stands_for_its_key(tmp_path: Path) -> None:
    """Its rights and its name hold there; the main port still wants a key."""
    async with StandIn() as standin, running(standin, tmp_path, settings_text()) as one:
        answer = await one.more.post("/api/chat", json=chat())
        hidden = await one.more.post("/api/chat", json=chat(COLD))
        listed = await one.more.get("/v1/models")
        refused = await one.main.post("/api/chat", json=chat())
        metrics = await one.more.get("/metrics")
        assert [200, 404, 401] == [each.status_code for each in (answer, hidden, refused)]
        assert LOADED in listed.text
        assert COLD not in listed.text
        assert 'key="home"' in metrics.text
        await one.main.get("/health")
        assert {"home"} == {line.get("key") for line in one.lines() if line["status"] == 200}


async def test_a_known_key_that_is_sent_wins(tmp_path: Path) -> None:
    """It is the client's own; any other text is what clients send that must send something."""
    async with StandIn() as standin, running(standin, tmp_path, settings_text()) as one:
        for secret, status in (("of alice", 200), ("of home", 404), ("ollama", 404)):
            answer = await one.more.post("/api/chat", json=chat(COLD), headers=bearer(secret))
            assert (secret, status) == (secret, answer.status_code)
        await one.more.get("/health")
        names = [line["key"] for line in one.lines() if line["path"] == "/api/chat"]
    assert ["alice", "home", "home"] == names


async def test_a_port_makes_nobody_an_administrator(tmp_path: Path) -> None:
    """Also one that stands for such a key: what changes the gateway wants a key that is sent."""
    text = settings_text().replace('key = "home"', 'key = "root"')
    file = tmp_path / "olgate.toml"
    file.write_text(text, "utf-8")
    async with StandIn() as standin, AsyncExitStack() as stack:
        started = run_gateway(standin.url, {"OLGATE_CONFIG": str(file)})
        gateway = await stack.enter_async_context(started)
        await gateway.until_said("for the key root")
        told = next(found for line in gateway.lines if (found := _FOR_A_KEY.search(line)))
        client = await stack.enter_async_context(speak_to(told[1]))
        answers: dict[str, list[int]] = {}
        for secret in ("", "of root"):
            headers = bearer(secret) if secret else {}
            inner = await client.get("/olgate/nothing", headers=headers)
            reloaded = await client.post("/reload", headers=headers)
            answers[secret] = [inner.status_code, reloaded.status_code]
        assert 200 == (await client.get("/api/tags")).status_code
    assert {"": [401, 401], "of root": [404, 200]} == answers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"host": "evil.example"}, 403),
        ({"origin": "http://localhost:3000"}, 200),
    ],
    ids=["foreign origin", "foreign host", "allowed origin"],
)
async def test_web_pages_are_kept_away_as_from_the_main_port(
    headers: Mapping[str, str], status: int, tmp_path: Path
) -> None:
    """A page that a user visits needs no key there either, so this matters most."""
    async with StandIn() as standin, running(standin, tmp_path, settings_text()) as one:
        answer = await one.more.get("/api/tags", headers=dict(headers))
        in_address = await one.more.get("/api/tags?api_key=of%20home")
    assert (status, 401) == (answer.status_code, in_address.status_code)


async def test_the_host_is_checked_by_the_port_s_own_address(tmp_path: Path) -> None:
    """A gateway for the network may have a port for this machine only, and the other way round."""
    text = settings_text(more='host = "127.0.0.1"')
    environ = {"OLGATE_LISTEN_HOST": "0.0.0.0"}
    async with StandIn() as standin, running(standin, tmp_path, text, **environ) as one:
        port = one.gateway.url.rpartition(":")[2]
        async with speak_to(f"http://127.0.0.1:{port}") as main:
            headers = {"host": "studio.example", **bearer("of alice")}
            assert 200 == (await main.get("/api/tags", headers=headers)).status_code
        assert 403 == (await one.more.get("/api/tags", headers=headers)).status_code


async def test_a_key_that_is_removed_closes_its_port(tmp_path: Path) -> None:
    """At the reload, with a sentence; a key that is changed holds at once, too."""
    async with StandIn() as standin, running(standin, tmp_path, settings_text()) as one:
        one.file.write_text(settings_text().replace(f'models = ["{LOADED}"]\n', ""), "utf-8")
        answer = await one.main.post("/reload", headers=bearer("of root"))
        assert {"changed": ["keys"], "needs_restart": []} == answer.json()
        assert 200 == (await one.more.post("/api/chat", json=chat(COLD))).status_code

        text = settings_text()
        start, end = text.index("[keys.home]"), text.index("[keys.alice]")
        one.file.write_text(text[:start] + text[end:], "utf-8")
        assert 200 == (await one.main.post("/reload", headers=bearer("of root"))).status_code
        for path in ("/api/chat", "/v1/chat/completions", "/nosuch"):
            refused = await one.more.post(path, json=chat())
            assert 403 == refused.status_code
            assert "stands for the key home (listen.more), which is not there" in refused.text
        own = await one.more.post("/api/chat", json=chat(), headers=bearer("of alice"))
        assert 200 == own.status_code


async def test_a_stream_of_a_further_port_is_drained(tmp_path: Path) -> None:
    """It ends as a whole, nothing new is accepted there, and the exit code is 0."""
    async with StandIn() as standin:
        standin.app.script.add([Rule(match=Match(path=CHAT), hold="rest", after=3)])
        environ = {"OLGATE_LIMITS_DRAIN_S": "60"}
        async with running(standin, tmp_path, settings_text(), **environ) as one:
            async with one.more.stream("POST", "/api/chat", json=chat(stream=True)) as answer:
                lines = answer.aiter_lines()
                said = [await anext(lines)]
                one.gateway.process.send_signal(signal.SIGTERM)
                await one.gateway.until_said("draining")
                with pytest.raises(httpx.ConnectError):
                    await speak_to(str(one.more.base_url)).get("/")
                standin.app.script.release("rest")
                said += [line async for line in lines if line]
            async with asyncio.timeout(PATIENCE_S):
                assert 0 == await one.gateway.process.wait()
        assert '"done":true' in said[-1]


async def test_a_port_may_speak_plain_http_beside_tls(tmp_path: Path) -> None:
    """Or TLS as the main one does, which is the default."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    environ = {
        "OLGATE_LISTEN_TLS_CERTIFICATE": str(certificate),
        "OLGATE_LISTEN_TLS_KEY": str(key),
    }
    for more, scheme in (("", "https"), ("tls = false", "http")):
        text = settings_text(more=more)
        async with StandIn() as standin, running(standin, tmp_path, text, **environ) as one:
            assert "https" == one.main.base_url.scheme
            assert scheme == one.more.base_url.scheme
            assert 200 == (await one.more.get("/api/tags")).status_code


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
async def test_workers_share_a_further_port(tmp_path: Path) -> None:
    """Each of them serves it, and a reload reaches all."""
    environ = {"OLGATE_STORE_PATH": str(tmp_path / "store.db"), "OLGATE_CONFIG": ""}
    file = tmp_path / "olgate.toml"
    file.write_text(settings_text(), "utf-8")
    environ["OLGATE_CONFIG"] = str(file)
    program = ("-m", "conformance.tests.gateway.server.two_workers")
    async with StandIn() as standin, run_gateway(standin.url, environ, program) as gateway:
        async with asyncio.timeout(PATIENCE_S):
            while sum("for the key home" in line for line in gateway.lines) < 2:
                gateway.said.clear()
                await gateway.said.wait()
        told = [found for line in gateway.lines if (found := _FOR_A_KEY.search(line))]
        assert told[0][1] == told[1][1]
        workers: set[str] = set()
        async with asyncio.timeout(PATIENCE_S):
            while len(workers) < 2:
                async with speak_to(told[0][1]) as client:
                    text = (await client.get("/metrics")).text
                workers |= set(re.findall(r'worker="(\d)"', text))
        assert {"0", "1"} == workers


async def test_the_commands_know_of_further_ports(tmp_path: Path) -> None:
    """Whether they are free or served, and for which key."""
    port = free_port()
    listen = ListenSettings(port=0, more=(PortSettings(port=port, key="home"),))
    home = {"home": KeySettings(digest=digest("of home"))}
    async with StandIn() as standin:
        upstream = UpstreamSettings(url=standin.url)

        async def found(**keys: KeySettings) -> tuple[str, str]:
            scene = Scene(Settings(upstream=upstream, listen=listen, keys=keys), None)
            (one,) = [each for each in await run_checks(scene) if each.check == f"port {port}"]
            return one.verdict, one.found

        assert ("ok", f"127.0.0.1:{port} is free") == (
            (free := await found(**home))[0],
            free[1].partition(";")[0],
        )
        assert ("wrong", "it stands for the key home, which is not there") == await found()
        with socket.create_server(("127.0.0.1", port)):
            verdict, told = await found(**home)
            assert "wrong" == verdict
            assert "taken" in told
        async with running(standin, tmp_path, settings_text(port)) as one:
            assert "an olgate answers" in (await found(**home))[1]
            own = one.gateway.url.rpartition(":")[2]
            for flags, says in (
                ((), f"port {port}  answers at http://127.0.0.1:{port}, with the key home\n"),
                (("--json",), '"key": "home"'),
            ):
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "gateway", "status", "--port", own, *flags),
                    *("--config", str(one.file)),
                    stdout=asyncio.subprocess.PIPE,
                )
                said, _ = await process.communicate()
                assert 0 == process.returncode
                assert says in said.decode()


@pytest.mark.parametrize("taken", ["by another", "by the main port"])
def test_a_port_that_is_taken_is_said_so(taken: str) -> None:
    """With the setting that names it; no port stays bound."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        main = 0 if taken == "by another" else port
        if main:
            other.close()
        listen = ListenSettings(port=main, more=(PortSettings(port=port, key="home"),))
        with pytest.raises(ListenProblem, match=rf"port {port} .* in \[\[listen\.more\]\]"):
            bind_all(listen)
        if main:
            socket.create_server(("127.0.0.1", main)).close()


def test_a_port_for_a_missing_key_is_refused_at_the_start() -> None:
    """It would be open for nothing."""
    listen = ListenSettings(more=(PortSettings(port=1, key="home"),))
    with pytest.raises(ListenProblem, match="olgate keys add home"):
        refuse_missing_keys(Settings(listen=listen))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("port = 1", "missing required field `key`"),
        ('port = "x"\nkey = "home"', "Expected `int`"),
        ('port = 70000\nkey = "home"', "<= 65535"),
        ('port = 1\nkey = "a b"', "'a b' cannot be one"),
        ('port = 1\nkey = "home"\nhost = "a:1"', "address alone"),
        ('port = 1\nkey = "home"\nkeys = 1', "unknown field `keys`"),
        ('port = 1\nkey = "home"\n[[listen.more]]\nport = 1\nkey = "home"', "there twice"),
    ],
)
def test_a_wrong_table_is_told(table: str, says: str, tmp_path: Path) -> None:
    """By its path, with what is expected."""
    file = tmp_path / "olgate.toml"
    file.write_text(f"[[listen.more]]\n{table}\n", "utf-8")
    with pytest.raises(SettingsProblem, match=r"listen\.more") as caught:
        load({}, {}, file)
    assert says in str(caught.value)


def test_a_variable_has_no_tables() -> None:
    """It is named, and so is the place where they belong."""
    with pytest.raises(SettingsProblem, match=r"only the settings file can have \[\[listen\.more"):
        load({}, {"OLGATE_LISTEN_MORE": "11435"}, None)


def test_what_is_printed_of_ports_is_read_back(tmp_path: Path) -> None:
    """Addresses follow the main port's unless said otherwise."""
    ports = (
        PortSettings(port=1, key="home"),
        PortSettings(port=2, key="alice", host="::1", tls=False),
    )
    listen = ListenSettings(host="0.0.0.0", tls_certificate="/cert", more=ports)
    file = tmp_path / "olgate.toml"
    file.write_text(as_toml(Settings(listen=listen), {}), "utf-8")
    assert listen == load({}, {}, file).listen
    shown = [(each.listen.host, each.listen.tls_certificate) for each in addresses_of(listen)]
    assert [("0.0.0.0", "/cert"), ("0.0.0.0", "/cert"), ("::1", None)] == shown
