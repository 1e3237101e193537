"""Every command helps with a line that can be typed."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from gateway.cli.main import cli


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that does something."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*words, name))
    else:
        yield words


COMMANDS = sorted(commands(cli))


def test_there_are_commands() -> None:
    """Otherwise nothing below would run."""
    assert {("serve",), ("store", "backup")} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_shows_an_example(words: tuple[str, ...]) -> None:
    """On a line of its own, whose words the command takes."""
    said = CliRunner().invoke(cli, [*words, "--help"], prog_name="olgate").output
    (example,) = [line for line in said.splitlines() if line.strip().startswith("Example: ")]
    typed = example.strip().removeprefix("Example: ").partition(" > ")[0].split()

    assert ["olgate", *words] == typed[: len(words) + 1]
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    command.make_parser(click.Context(command)).parse_args(typed[len(words) + 1 :])
