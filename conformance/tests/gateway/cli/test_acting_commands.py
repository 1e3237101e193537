"""`olgate load`, `unload`, `pull`, `drain` and `undrain` against a gateway that runs."""

import json
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from conformance.standin.catalogue import GRADED, PLAIN
from conformance.tests.gateway.cli.test_asking_commands import port_of
from conformance.tests.gateway.cli.test_doctor import free_port, run
from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.support import (
    COLD,
    LOAD,
    LOADED_EMBEDDER,
    Pair,
    open_pair,
)
from gateway.cli.main import cli

HOST: dict[str, Any] = {"models": (PLAIN, GRADED)}


async def test_a_model_is_loaded_and_unloaded(fresh: Pair) -> None:
    """By the gateway, so its keep-alive counts."""
    port = port_of(fresh.url)
    code, said, complained = await run("load", COLD, *port, "--keep-alive", "2h")
    assert (0, f"{COLD} is loaded\n", "") == (code, said, complained)
    assert [COLD] == [body["model"] for body in fresh.bodies(LOAD)]
    _, listed, _ = await run("ps", *port)
    assert "1 hour from now" in listed

    code, said, complained = await run("unload", COLD, *port)
    assert (0, f"{COLD} is unloaded\n", "") == (code, said, complained)
    assert [] == fresh.instances(COLD)


async def test_a_model_that_only_makes_vectors_is_loaded(fresh: Pair) -> None:
    """By the route that may."""
    await run("unload", LOADED_EMBEDDER, *port_of(fresh.url))
    assert [] == fresh.instances(LOADED_EMBEDDER)
    code, said, _ = await run("load", LOADED_EMBEDDER, *port_of(fresh.url), "--json")
    assert 0 == code
    assert [] == json.loads(said)["embeddings"]
    assert 1 == len(fresh.instances(LOADED_EMBEDDER))


async def test_a_model_is_pulled(fresh: Pair) -> None:
    """A last line says so; one that LM Studio can't find is a sentence."""
    code, said, complained = await run("pull", "harbor/beacon-9b", *port_of(fresh.url))
    assert (0, "harbor/beacon-9b is here\n", "") == (code, said, complained)
    code, said, _ = await run("pull", "harbor/beacon-9b", *port_of(fresh.url), "--json")
    assert (0, "success") == (code, json.loads(said)["status"])
    code, said, complained = await run("pull", "", *port_of(fresh.url))
    assert (1, "") == (code, said)
    assert complained.startswith("olgate: ")


async def test_where_there_are_several_hosts() -> None:
    """A load goes to the host that is named; a host is drained and taken back."""
    async with open_fleet(HOST, HOST) as fleet:
        port = port_of(fleet.url)
        code, said, _ = await run("load", GRADED.key, *port, "--on", "b")
        assert (0, f"{GRADED.key} is loaded on b\n") == (code, said)
        assert [[], [GRADED.key]] == [fleet.instances(name, GRADED.key) for name in "ab"]

        code, said, _ = await run("drain", "b", *port)
        assert (0, "b is drained; nothing runs there\n") == (code, said)
        code, said, complained = await run("load", PLAIN.key, *port, "--on", "b")
        assert (1, "") == (code, said)
        assert "olgate undrain b" in complained
        code, said, _ = await run("unload", GRADED.key, *port, "--on", "b")
        assert (0, f"{GRADED.key} is unloaded on b\n") == (code, said)
        assert [] == fleet.instances("b", GRADED.key)

        code, said, _ = await run("undrain", "b", *port)
        assert (0, "b gets requests again; it is up\n") == (code, said)
        code, _, complained = await run("drain", "z", *port)
        assert (1, "olgate: no host is called 'z'; the hosts are: a, b\n") == (code, complained)


@pytest.mark.parametrize(
    ("command", "word"),
    [("load", "nosuch"), ("unload", "nosuch"), ("drain", "nosuch"), ("undrain", "nosuch")],
)
async def test_what_there_is_not_gets_a_sentence(pair: Pair, command: str, word: str) -> None:
    """With exit code 1, and the name."""
    code, said, complained = await run(command, word, *port_of(pair.url))
    assert (1, "") == (code, said)
    assert complained.startswith("olgate: ")
    assert word in complained


@pytest.mark.parametrize("command", ["load", "unload", "pull", "drain", "undrain"])
async def test_no_gateway_gets_one_sentence(command: str) -> None:
    """It names the address and the next step."""
    port = free_port()
    code, said, complained = await run(command, "x", "--port", str(port))
    assert (1, "") == (code, said)
    assert f"no gateway answers at http://127.0.0.1:{port}" in complained


async def test_a_key_that_may_not_is_told_so() -> None:
    """The gateway decides, as for any caller."""
    from hashlib import sha256

    tables = {"guest": {"digest": sha256(b"guest").hexdigest(), "models": ["nothing/*"]}}
    async with open_pair({"keys": tables}) as pair:
        port = port_of(pair.url)
        host = pair.standin.url.removeprefix("http://")
        drained = await run("drain", host, *port, "--key", "guest")
        loaded = await run("load", COLD, *port, "--key", "guest")
        wrong = await run("load", COLD, *port, "--key", "wrong")

    assert [1, 1, 1] == [drained[0], loaded[0], wrong[0]]
    assert "keys.NAME.admin" in drained[2]
    assert "not found" in loaded[2]
    assert "refuses the key" in wrong[2]


def completions(words: list[str], begun: str) -> list[str]:
    """Return what a shell would offer."""
    found = ShellComplete(cli, {}, "olgate", "_OLGATE_COMPLETE").get_completions(words, begun)
    return [one.value for one in found]


async def test_a_shell_completes_names() -> None:
    """Of models and of hosts, from the gateway that runs; without one it offers nothing."""
    import asyncio

    async with open_fleet(HOST, HOST) as fleet:
        port = [*port_of(fleet.url)]
        models = await asyncio.to_thread(completions, ["load", *port], "tiny-plain")
        hosts = await asyncio.to_thread(completions, ["drain", *port], "")
        places = await asyncio.to_thread(completions, ["load", *port, "--on"], "b")
    nothing = completions(["load", "--port", str(free_port())], "")

    assert [f"{PLAIN.key}:latest"] == models
    assert ["a", "b"] == hosts
    assert ["b"] == places
    assert [] == nothing


def test_every_action_is_a_command() -> None:
    """What the page can do, the command line can."""
    assert {"load", "unload", "pull", "drain", "undrain"} <= set(cli.commands)
    for name in ("load", "drain"):
        assert any(isinstance(one, click.Argument) for one in cli.commands[name].params)
