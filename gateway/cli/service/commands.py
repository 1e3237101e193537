"""
The commands `olgate service install`, `uninstall` and `status`.

Each shows what it writes and runs, so that nothing happens to a machine unseen.
"""

import shlex
import subprocess
import sys
from pathlib import Path

import click

from .manager import CannotInstall, Manager, Program

_dry_run = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")


@click.group("service")
def service() -> None:
    """Run the gateway as a service: systemd, launchd, or Windows' task scheduler."""


@service.command()
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Settings file that the service uses, instead of the platform's.",
)
@_dry_run
def install(config: Path | None, dry_run: bool) -> None:
    """
    Install the service and start it, now and at each start.

    \b
    Example: olgate service install --config /etc/olgate.toml
    """
    manager = this_manager()
    try:
        content = manager.content(Program.of_this_process(config))
    except CannotInstall as problem:
        sys.exit(f"olgate: {problem}")
    show(f"write {manager.file}:")
    click.echo(_as_text(content))
    if not dry_run:
        try:
            manager.file.parent.mkdir(parents=True, exist_ok=True)
            manager.file.write_bytes(content)
        except OSError as error:
            sys.exit(f"olgate: {manager.file} can't be written ({error})")
    for command in manager.install():
        run(command, dry_run=dry_run)


@service.command()
@_dry_run
def uninstall(dry_run: bool) -> None:
    """
    Stop the service and remove it; settings and the store stay.

    \b
    Example: olgate service uninstall --dry-run
    """
    manager = this_manager()
    if not manager.file.exists():
        sys.exit(f"olgate: there is no service to remove ({manager.file} is missing)")
    for command in manager.uninstall():
        run(command, dry_run=dry_run, must_succeed=False)
    show(f"delete {manager.file}")
    if not dry_run:
        try:
            manager.file.unlink()
        except OSError as error:
            sys.exit(f"olgate: {manager.file} can't be deleted ({error})")


@service.command()
def status() -> None:
    """
    Show whether the service is installed and running.

    \b
    Example: olgate service status
    """
    manager = this_manager()
    if not manager.file.exists():
        click.echo(f"not installed ({manager.file} is missing)")
        sys.exit(3)
    click.echo(f"installed as {manager.file}")
    sys.exit(_exit_code(manager.status()))


def this_manager() -> Manager:
    """Return this system's service manager; a system without a known one ends with a sentence."""
    home = Path.home()
    if sys.platform == "win32":
        from .task_scheduler import TaskScheduler

        return TaskScheduler.of_this_user(home)
    if sys.platform == "darwin":
        from .launchd import Launchd

        return Launchd.of_this_user(home)
    if Path("/run/systemd/system").exists():
        from .systemd import Systemd

        return Systemd.of_this_user(home)
    sys.exit("olgate: this system does not run systemd; start `olgate serve` by its own manager")


def run(command: list[str], *, dry_run: bool, must_succeed: bool = True) -> None:
    """Show a command and run it; the exit code of one that must succeed becomes this one's."""
    show(f"run {shlex.join(command)}")
    if dry_run:
        return
    code = _exit_code(command)
    if code and must_succeed:
        click.echo(f"olgate: {command[0]} ended with exit code {code}", err=True)
        sys.exit(code)


def show(action: str) -> None:
    """Say what is done next."""
    click.echo(f"olgate: {action}")


def _exit_code(command: list[str]) -> int:
    try:
        return subprocess.run(command, check=False).returncode
    except OSError as error:
        click.echo(f"olgate: {command[0]} can't be run ({error.strerror})", err=True)
        return 127


def _as_text(content: bytes) -> str:
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return content.decode("utf-16" if is_utf16 else "utf-8")
