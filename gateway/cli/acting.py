"""
`olgate load`, `olgate unload`, `olgate pull`, `olgate drain` and `olgate undrain`.

Each sends requests of the gateway's own API, the same as the page does.
"""

import os
import sys
from typing import TYPE_CHECKING, Any, Unpack

import click

from .options import Flags, client_options, load_settings

if TYPE_CHECKING:
    from ..console.actions import Action
    from ..settings.schema import Settings

COMPLETION_LIMIT_S = 2.0
"""Seconds that a shell waits for the gateway before it completes nothing."""


def _complete_model(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return the names of models that begin with a text."""
    found = _known(context, "/api/tags").get("models") or []
    return [name for one in found if (name := str(one.get("name", ""))).startswith(begun)]


def _complete_host(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return the names of hosts that begin with a text."""
    from ..server.routes import HEALTH

    found = _known(context, HEALTH).get("hosts") or {}
    return [name for name in found if name.startswith(begun)]


def _known(context: click.Context, path: str) -> dict[str, Any]:
    """Return what the gateway says, or nothing: a shell that completes must not complain."""
    from ..settings.sources import SettingsProblem
    from .options import read_settings
    from .own_api import NoAnswer, ask, find_key

    given = context.params
    flags = Flags(
        host=given.get("host"),
        port=given.get("port"),
        upstream=given.get("upstream") or (),
        config=given.get("config"),
        log_level=None,
    )
    try:
        settings = read_settings(flags).settings
        key = find_key(settings, given.get("key"))
        return ask(settings, "GET", path, key, limit_s=COMPLETION_LIMIT_S)[1]
    except (NoAnswer, SettingsProblem):
        return {}


_name = click.argument("name", shell_complete=_complete_model)
_on = click.option(
    "--on",
    "on_host",
    metavar="HOST",
    default="",
    shell_complete=_complete_host,
    help="The host to do it on, where there are several.",
)
_host_name = click.argument("host_name", metavar="HOST", shell_complete=_complete_host)


@click.command("load")
@_name
@client_options
@_on
@click.option("--keep-alive", metavar="TIME", default="", help="How long it stays, such as 2h.")
def load(
    name: str, on_host: str, keep_alive: str, key: str | None, as_json: bool, **flags: Unpack[Flags]
) -> None:
    """
    Load a model, and ask it nothing.

    \b
    Example: olgate load qwen/qwen3-8b --on studio --keep-alive 2h
    """
    from ..console import actions

    settings = load_settings(flags).settings
    shown = actions.Action(actions.SHOW, {"model": name}, on_host)
    abilities = _act(settings, key, shown).get("capabilities") or ()
    found = _act(settings, key, actions.load(name, abilities, on_host, keep_alive))
    _tell(found, as_json, f"{name} is loaded{_where(on_host)}")


@click.command("unload")
@_name
@client_options
@_on
def unload(name: str, on_host: str, key: str | None, as_json: bool, **flags: Unpack[Flags]) -> None:
    """
    Unload a model once no request uses it, from every host unless one is named.

    \b
    Example: olgate unload qwen/qwen3-8b
    """
    from ..console import actions

    found = _act(load_settings(flags).settings, key, actions.unload(name, on_host))
    _tell(found, as_json, f"{name} is unloaded{_where(on_host)}")


@click.command("pull")
@click.argument("name")
@client_options
def pull(name: str, key: str | None, as_json: bool, **flags: Unpack[Flags]) -> None:
    """
    Have LM Studio download a model, to the hosts that downloads.to names.

    \b
    Example: olgate pull qwen/qwen3-8b
    """
    from ..console import actions
    from .own_api import NoAnswer, find_key, follow
    from .tables import fail, print_json, say

    settings = load_settings(flags).settings
    wanted = actions.pull(name)
    last: dict[str, Any] = {}
    bar = _Bar(is_shown=not as_json and sys.stderr.isatty())
    try:
        for last in follow(settings, wanted.path, find_key(settings, key), wanted.body or {}):
            bar.show(last)
    except NoAnswer as problem:
        fail(str(problem))
    finally:
        bar.end()
    if last.get("status") != "success":
        fail(str(last.get("error") or "the gateway's answer ended before the download did"))
    if as_json:
        print_json(last)
    else:
        say(f"{name} is here")


@click.command("drain")
@_host_name
@client_options
def drain(host_name: str, key: str | None, as_json: bool, **flags: Unpack[Flags]) -> None:
    """
    Give a host no new requests; those that run there end, and its models stay loaded.

    \b
    Example: olgate drain studio
    """
    from ..console import actions

    found = _act(load_settings(flags).settings, key, actions.drain(host_name))
    running = int(found.get("running") or 0)
    still = f"{running} request{'' if running == 1 else 's'} still run{'s' if running == 1 else ''}"
    _tell(found, as_json, f"{host_name} is drained; {still if running else 'nothing runs'} there")


@click.command("undrain")
@_host_name
@client_options
def undrain(host_name: str, key: str | None, as_json: bool, **flags: Unpack[Flags]) -> None:
    """
    Give a drained host requests again.

    \b
    Example: olgate undrain studio
    """
    from ..console import actions

    found = _act(load_settings(flags).settings, key, actions.undrain(host_name))
    _tell(found, as_json, f"{host_name} gets requests again; it is {found.get('state')}")


def _act(settings: "Settings", key: str | None, action: "Action") -> dict[str, Any]:
    """Send an action, and return its answer; anything but a success ends with a sentence."""
    from .own_api import NoAnswer, ask, find_key
    from .tables import fail

    wanted = find_key(settings, key)
    try:
        # A load takes as long as it takes; the gateway has a limit for it.
        code, found = ask(settings, "POST", action.path, wanted, action.host, action.body, None)
    except NoAnswer as problem:
        fail(str(problem))
    if code != 200 or "error" in found:
        fail(str(found.get("error") or f"the gateway answered with the status {code}"))
    return found


def _tell(found: dict[str, Any], as_json: bool, sentence: str) -> None:
    from .tables import print_json, say

    if as_json:
        print_json(found)
    else:
        say(sentence)


def _where(host: str) -> str:
    return f" on {host}" if host else ""


class _Bar:
    """A line on a terminal that shows how far a download is."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown
        self._width = 0

    def show(self, line: dict[str, Any]) -> None:
        """Show a line of the answer in place of the one before."""
        from .tables import harmless, show_size

        if not self._is_shown:
            return
        total, completed = line.get("total") or 0, line.get("completed") or 0
        text = str(line.get("status") or "")
        if total:
            text += f": {show_size(completed)} of {show_size(total)} ({completed / total:.0%})"
        text = text[: max(10, _columns() - 1)]
        sys.stderr.write("\r" + harmless(text).ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)

    def end(self) -> None:
        """Leave the line."""
        if self._width:
            sys.stderr.write("\n")


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80
