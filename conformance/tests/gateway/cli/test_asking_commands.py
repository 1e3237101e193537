"""`olgate status`, `models` and `ps`: tables and JSON of the gateway that runs, or one sentence."""

import json
import socket

import pytest
from click.testing import CliRunner

from conformance.standin import StandIn
from conformance.tests.gateway.cli.test_doctor import free_port, run, says, standing
from conformance.tests.gateway.support import COLD, Pair, open_pair
from gateway.cli import own_api
from gateway.cli.main import cli
from gateway.cli.tables import allow_any_character

COMMANDS = ("status", "models", "ps")


def port_of(url: str) -> tuple[str, str]:
    """Return the flag that names a gateway's port."""
    return "--port", url.rpartition(":")[2]


async def test_status_says_what_health_says(pair: Pair) -> None:
    """Exit code 0 while LM Studio answers; JSON is the gateway's own."""
    code, said, complained = await run("status", *port_of(pair.url))
    assert (0, "") == (code, complained)
    assert (
        "WHAT       STATE\n"
        f"gateway    answers at {pair.url}\n"
        "queue      no request waits for a slot\n"
        f"LM Studio  answers at {pair.standin.url}\n"
        "server     lmstudio, dialect v1\n"
        "models     8, 2 loaded\n"
    ) == said
    code, said, _ = await run("status", *port_of(pair.url), "--json")
    assert {"gateway": pair.url, **await pair.get("/health")} == json.loads(said)


async def test_status_is_1_without_lm_studio() -> None:
    """A script can tell; the table says what to do."""
    async with open_pair() as pair:
        await pair.standin.stop()
        code, said, _ = await run("status", *port_of(pair.url))
        assert 1 == code
        assert f"LM Studio  away at {pair.standin.url}\n" in said
        assert "advice     start LM Studio's server" in said
        await pair.standin.start()


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("command", ["models", "ps"])
def test_what_others_say_does_not_steer_the_terminal(
    command: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of models and texts of errors are shown with escapes; JSON has its own."""
    evil = "a\x1b]0;b\x07\u202ec\r"
    found = {"models": [{"name": evil}]} if status == 200 else {"error": evil}
    monkeypatch.setattr(own_api, "ask", lambda *_: (status, found))
    monkeypatch.setattr(own_api, "ask_hosts", lambda *_: None)
    done = CliRunner().invoke(cli, [command])
    assert "a\\x1b]0;b\\x07\\u202ec\\r" in done.output
    assert not [each for each in done.output if not each.isprintable() and each != "\n"]


async def test_models_and_ps_are_tables(pair: Pair) -> None:
    """Names as clients use them, sizes, and until when a model stays."""
    code, said, complained = await run("models", *port_of(pair.url))
    assert (0, "") == (code, complained)
    lines = said.splitlines()
    assert ["NAME", "SIZE", "PARAMETERS", "QUANTIZATION", "CONTEXT", "CAN"] == lines[0].split()
    assert 9 == len(lines)
    assert any(line.startswith("tiny-plain-1b-instruct:latest  807 MB  1B") for line in lines)

    await pair.post("/api/chat", {"model": COLD, "keep_alive": "2h"})
    code, said, complained = await run("ps", *port_of(pair.url))
    assert (0, "") == (code, complained)
    assert any(
        line.startswith(f"{COLD}:latest") and line.endswith("1 hour from now")
        for line in said.splitlines()
    ), said
    code, said, _ = await run("ps", *port_of(pair.url), "--json")
    assert (await pair.running()).keys() == {one["name"] for one in json.loads(said)["models"]}


@pytest.mark.parametrize("command", [*COMMANDS, "reload"])
async def test_no_gateway_gets_one_sentence(command: str) -> None:
    """It names the address and the next step."""
    port = free_port()
    code, said, complained = await run(command, "--port", str(port))
    assert (1, "") == (code, said)
    assert complained.startswith(f"olgate: no gateway answers at http://127.0.0.1:{port} (")
    assert complained.endswith(
        "); start it with `olgate serve`, or give the flags or variables with which it was "
        "started\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
async def test_another_server_is_not_taken_for_a_gateway(command: str) -> None:
    """An Ollama has the same API, and what it says is not about this gateway."""
    async with standing(says("/[!_]*", '{"models": []}')) as standin:
        code, said, complained = await run(command, *port_of(standin.url))
        assert (1, "") == (code, said)
        assert f"what answers at {standin.url} is not an olgate; " in complained


async def test_a_key_comes_from_the_option_the_variable_or_the_settings() -> None:
    """Without one, and with a wrong one, a sentence says how to give it."""
    settings = {"listen": {"keys": ("k1",)}}
    async with open_pair(settings) as pair:
        port = port_of(pair.url)
        assert 0 == (await run("models", *port, "--key", "k1"))[0]
        assert 0 == (await run("models", *port, OLLAMA_API_KEY="k1"))[0]
        assert 0 == (await run("models", *port, OLGATE_LISTEN_KEYS="k1"))[0]
        code, _, complained = await run("models", *port)
        assert (1, True) == (code, "wants a key; give one with --key" in complained)
        code, _, complained = await run("models", *port, "--key", "k2")
        assert (1, True) == (code, "refuses the key; give one with --key" in complained)
        assert "k2" not in complained


async def test_a_failure_of_the_gateway_is_told() -> None:
    """Its own sentence, on standard error."""
    async with StandIn() as standin:
        pass
    async with open_pair({"upstream": {"url": standin.url}}) as pair:
        code, said, complained = await run("models", *port_of(pair.url))
        assert (1, "") == (code, said)
        assert complained.startswith(f"olgate: cannot reach LM Studio at {standin.url}: ")


def test_a_console_of_another_encoding_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """What Windows' console cannot show is an escape; without a console nothing happens."""
    import io
    import sys

    from gateway.cli.tables import print_table

    raw = io.BytesIO()
    narrow = io.TextIOWrapper(raw, encoding="cp1252", newline="\n")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(sys, "stderr", None)
    allow_any_character()
    print_table(("NAME",), [("größe-模型",)])
    narrow.flush()
    assert b"NAME\ngr\xf6\xdfe-\\u6a21\\u578b\n" == raw.getvalue()


def test_a_free_port_is_free() -> None:
    """What the tests above rely on."""
    with socket.socket() as trial:
        assert 0 != trial.connect_ex(("127.0.0.1", free_port()))
