"""
`python -m conformance.differential`: a real Ollama and the gateway, asked the same.

Exit codes: 0 when every difference is declared, or Go is missing; 1 when one is not; 2 when Ollama
could not be built or started.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec

from conformance.clients.toolchain import InstallError, MissingToolError
from conformance.differential.llama_server import DEFAULT
from conformance.differential.models import catalogue
from conformance.differential.real import NotStarted, build, make_again, running
from conformance.differential.report import describe
from conformance.differential.session import Session, findings_of
from conformance.differential.wire import Request, ask
from conformance.runner.processes import listening

FIXED_SEED = 34
"""Of the first half of a session, so that a change is judged by the same requests as the last."""

NO_DOWNLOADS = {
    "match": {"path": "/api/v1/models/download"},
    "answer": {
        "status": 404,
        "chunks": [[0, '{"error": {"message": "not found", "type": "model_not_found"}}']],
    },
}
"""A rule of the stand-in: nothing can be downloaded, as Ollama can pull nothing here."""


def rotating_seed() -> int:
    """Return another seed each day."""
    return datetime.datetime.now(datetime.UTC).toordinal()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--count", default=3000, help="How many requests to send in all.")
@click.option("--seed", type=int, multiple=True, help="Seeds; by default a fixed and a daily one.")
@click.option("--declared", is_flag=True, help="Print the declared deviations that were met, too.")
def main(count: int, seed: tuple[int, ...], declared: bool) -> None:
    """Send generated requests to a real Ollama and to the gateway, and compare the answers."""
    try:
        program = build()
    except MissingToolError as error:
        click.echo(f"differential: skipped, since {error}")
        return
    except InstallError as error:
        click.echo(f"differential: Ollama can't be built: {error}", err=True)
        sys.exit(2)
    seeds = seed or (FIXED_SEED, rotating_seed())
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            real = stack.enter_context(running(program))
        except NotStarted as error:
            click.echo(f"differential: {error}", err=True)
            sys.exit(2)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models, settings = folder / "models.json", folder / "config.toml"
        models.write_bytes(msgspec.json.encode(catalogue()))
        settings.touch()
        act = ("--port", "0", "--catalogue", str(models), "--says", *DEFAULT["say"])
        standin = stack.enter_context(listening("conformance.standin", *act))
        ask(standin, Request("POST", "/__standin/script", body=msgspec.json.encode([NO_DOWNLOADS])))
        serve = ("serve", "--port", "0", "--upstream", standin, "--config", str(settings))
        ours = stack.enter_context(listening("gateway", *serve))
        session = Session(real, ours, lambda name: make_again(real, name))
        for one in seeds:
            session.run(count // len(seeds), one)
    tally = session.tally
    for finding in findings_of(tally):
        click.echo("\n".join(describe(finding, tally.seen[finding.kind])) + "\n")
    if declared:
        for what, times in tally.declared.most_common():
            click.echo(f"declared, met {times} times: {what}")
    words = f"seeds {', '.join(map(str, seeds))}; {time.monotonic() - began:.0f} s"
    click.echo(
        f"{tally.requests} requests, {tally.equal} equal in everything, {tally.offline} for which "
        f"Ollama wanted the internet, {tally.unloaded} for which it had lost its engine, "
        f"{tally.late} for which it took too long, "
        f"{sum(tally.seen.values())} with {len(tally.seen)} kinds of undeclared difference; {words}"
    )
    sys.exit(1 if tally.seen else 0)


if __name__ == "__main__":
    main()
