"""
The `olgate` command itself: its group, `--version`, and the list of commands.
"""

import click

from .acting import drain, load, pull, undrain, unload
from .config import show_config
from .doctor import doctor
from .explain import explain
from .inspect import inspect
from .keys import keys
from .models import models
from .ps import ps
from .reload import reload_settings
from .serve import serve
from .service.commands import service
from .status import status
from .store import store
from .tables import allow_any_character


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _option, wanted: _show_version(context) if wanted else None,
    help="Print the version and exit.",
)
def cli() -> None:
    """Serve the Ollama HTTP API from LM Studio."""


cli.add_command(serve)
cli.add_command(show_config)
cli.add_command(reload_settings)
cli.add_command(doctor)
cli.add_command(explain)
cli.add_command(status)
cli.add_command(models)
cli.add_command(inspect)
cli.add_command(ps)
cli.add_command(load)
cli.add_command(unload)
cli.add_command(pull)
cli.add_command(drain)
cli.add_command(undrain)
cli.add_command(service)
cli.add_command(store)
cli.add_command(keys)


def main() -> None:
    """Run the command line; the console script and `python -m gateway` are this."""
    allow_any_character()
    cli(prog_name="olgate")


def _show_version(context: click.Context) -> None:
    from ..observability.version import find_version

    version = find_version()
    click.echo(
        f"olgate {version}" if version else "olgate, run from a checkout that is not installed"
    )
    context.exit()
