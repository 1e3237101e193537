"""
The nox sessions; each of them only calls modules.

`python3 noxfile.py -s NAME` runs them with any Python: it installs nox first, into `.nox/nox`.

Sessions share two environments. `start` has what `codegen` and `serve` need, `dev` has everything.
nox has no shared environments, so every other session has none, requires one of these two, and runs
that environment's Python: installing once takes as long as the installation of one session.
"""

import hashlib
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a script, so nox may not be there yet.
    from conformance import bootstrap

    sys.exit(bootstrap.main(sys.argv[1:]))

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = [
    "lint",
    "types",
    "drift",
    "docs",
    "tests",
    "conformance",
    "mutants",
    "engine",
    "clients",
    "deploy",
    "browser",
    "cluster",
    "differential",
    "adversary",
    "instructions",
]

SITE = ["-c", "docs/site", "-d", "build/doctrees", ".", "build/site"]
"""Where the site's settings are, and what is read and written."""

LONG = ["--timeout", "1200"]
"""Seconds for a test that may first make environments or models."""

BIN = "Scripts" if os.name == "nt" else "bin"

COMPILING = {"PYTHONDONTWRITEBYTECODE": ""}
"""
What has Python keep what it compiles, as most machines do without being told.

Images of containers often forbid it. Each gateway that a test starts would compile all its modules
anew: importing it would take 2.1 s of CPU time, and takes 0.85 s.
"""


def run(session: nox.Session, *command: str, home: str = "dev") -> None:
    """Run `python -m COMMAND` in the environment of a session, `dev` or `start`."""
    run_script(session, "python", "-m", *command, home=home)


def run_script(session: nox.Session, name: str, *arguments: str, home: str = "dev") -> None:
    """Run a script of the environment of a session, `dev` or `start`."""
    folder = (session.env_dir.parent / home).resolve()
    path = os.pathsep.join([str(folder / BIN), os.environ.get("PATH", "")])
    session.run(
        str(folder / BIN / name),
        *arguments,
        env={"PATH": path, "VIRTUAL_ENV": str(folder)} | COMPILING,
        external=True,
    )


def install(session: nox.Session, requirement: str, *, without: str = "") -> None:
    """
    Install the project into the session's environment, unless it is there as it is asked for.

    `without` is a file of packages that are left out. Only uv can do so; to pip, and to a uv too
    old to know that variable, it says nothing, and they are installed.
    """
    sources = [Path(each) for each in ("pyproject.toml", "constraints.txt", without) if each]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    wanted = f"{requirement} {session.python} {digest.hexdigest()}"
    stamp = Path(session.virtualenv.location, "made-from")
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    session.install("-c", "constraints.txt", "-e", requirement, env={"UV_EXCLUDE": without})
    stamp.write_text(wanted, "utf-8")


@nox.session(reuse_venv=True, default=False)
def start(session: nox.Session) -> None:
    """Make the environment of `codegen` and `serve`, without what only developers need."""
    install(session, ".[codegen]", without="start-excludes.txt")


@nox.session(reuse_venv=True, default=False)
def dev(session: nox.Session) -> None:
    """Make the environment that the other sessions share, with all development dependencies."""
    install(session, ".[dev,clients,engine]")


@nox.session(venv_backend="none", requires=["start"], default=False)
def codegen(session: nox.Session) -> None:
    """Write everything that is generated: gateway code, pages and schemas."""
    run(session, "codegen", home="start")
    run(session, "gateway.settings", home="start")


@nox.session(venv_backend="none", requires=["start"], default=False)
def serve(session: nox.Session) -> None:
    """Serve LM Studio, or the stand-in if there is none: `nox -s serve -- --port 11435`."""
    run(session, "conformance.demo", *session.posargs, home="start")


@nox.session(venv_backend="none", requires=["dev"])
def lint(session: nox.Session) -> None:
    """Check style, who imports whom, specs and mapping rules."""
    run(session, "ruff", "check")
    run(session, "ruff", "format", "--check")
    run_script(session, "lint-imports", "--no-cache")
    run(session, "codegen", "--lint")


@nox.session(venv_backend="none", requires=["dev"])
def types(session: nox.Session) -> None:
    """Check types, generated code included."""
    run(session, "mypy")


@nox.session(venv_backend="none", requires=["dev"])
def drift(session: nox.Session) -> None:
    """Check that everything generated is what its source gives."""
    run(session, "codegen", "--check")
    run(session, "gateway.settings", "--check")


@nox.session(venv_backend="none", requires=["dev"])
def tests(session: nox.Session) -> None:
    """Run the tests, except with other programs: `nox -s tests -- -k names`.

    All of them run in three processes, each file in one of them: a fifth of their time the tests
    wait. The few that fail are tried once more, and named if they pass then.
    """
    apart = [f"--ignore=conformance/tests/{each}" for each in ("clients", "engine", "deployed")]
    at_once = [] if session.posargs else ["-n", "3", "--dist", "loadfile"]
    run(session, "conformance.second_try", *apart, *at_once, *session.posargs)


@nox.session(venv_backend="none", requires=["dev"])
def conformance(session: nox.Session) -> None:
    """Run the case files against the gateway and the stand-in: `nox -s conformance -- list`.

    `nox -s conformance -- --upstream URL` compares a live LM Studio with the fixtures instead.
    """
    if "--upstream" in session.posargs:
        run(session, "conformance.live.against", *session.posargs)
    else:
        run(session, "conformance", *(session.posargs or ["run"]))


@nox.session(venv_backend="none", requires=["dev"])
def mutants(session: nox.Session) -> None:
    """Break the gateway rule by rule; a case must notice each: `nox -s mutants -- --all`."""
    run(session, "conformance.mutants", *session.posargs)


@nox.session(venv_backend="none", requires=["dev"], default=False)
def record(session: nox.Session) -> None:
    """Record a live LM Studio into fixture files: `nox -s record -- URL`."""
    run(session, "conformance.live.record", *session.posargs)


@nox.session(venv_backend="none", requires=["dev"], default=False)
def fuzz(session: nox.Session) -> None:
    """Send thousands of requests made from the specs, and check the answers."""
    run(session, "conformance.schemas.fuzz", *session.posargs)


@nox.session(venv_backend="none", requires=["dev"], default=False)
def oddities(session: nox.Session) -> None:
    """Let LM Studio answer with each field absent, null, of another type, doubled or cut."""
    run(session, "conformance.oddities", *session.posargs)


@nox.session(venv_backend="none", requires=["dev"])
def clients(session: nox.Session) -> None:
    """Run real clients of Ollama: `-- --all` runs all, `-- --write` writes their page."""
    if {"--matrix", "--write"} & set(session.posargs):
        run(session, "conformance.clients", *session.posargs)
    else:
        run(session, "conformance.second_try", "conformance/tests/clients", *LONG, *session.posargs)


@nox.session(venv_backend="none", requires=["dev"])
def engine(session: nox.Session) -> None:
    """Run the gateway in front of a real llama.cpp with tiny models."""
    run(session, "conformance.second_try", "conformance/tests/engine", *LONG, *session.posargs)


@nox.session(venv_backend="none", requires=["dev"])
def deploy(session: nox.Session) -> None:
    """Try the files of deploy/ with HAProxy, nginx and Helm; one that is missing is skipped."""
    run(session, "conformance.second_try", "conformance/tests/deployed", "-rs", *session.posargs)


@nox.session(reuse_venv=True)
def browser(session: nox.Session) -> None:
    """Look at the page at /olgate/ in Chromium, `-- --all` at all of it.

    `-- --write` makes its pictures in docs/ anew. Where there is no Chromium, each test is skipped.
    """
    install(session, ".[dev,browser]")
    flags = {"--all": "WHOLE_PAGE", "--write": "WRITE_PICTURES"}
    env = {name: "1" for flag, name in flags.items() if flag in session.posargs}
    more = [each for each in session.posargs if each not in flags]
    tests = "conformance/tests/gateway/console/test_browser.py"
    session.run("python", "-m", "conformance.second_try", tests, "-rs", *more, env=env | COMPILING)


@nox.session(venv_backend="none", requires=["dev"])
def cluster(session: nox.Session) -> None:
    """Let parts of a fleet fail under load: `nox -s cluster -- --all` or `-- --write`."""
    run(session, "conformance.cluster", *session.posargs)


@nox.session(venv_backend="none", requires=["dev"])
def differential(session: nox.Session) -> None:
    """Ask a real Ollama the same, and compare: `nox -s differential -- --count 100000`."""
    run(session, "conformance.differential", *session.posargs)


@nox.session(venv_backend="none", requires=["dev"])
def docs(session: nox.Session) -> None:
    """Build the site of the documents into build/site; a warning is an error."""
    run(session, "sphinx", "-W", "--keep-going", "-q", "-b", "dirhtml", *SITE)


@nox.session(venv_backend="none", requires=["dev"])
def adversary(session: nox.Session) -> None:
    """Attack a gateway from both sides: `nox -s adversary -- --count 50000 --seed 7`."""
    run(session, "conformance.adversary", *session.posargs)


@nox.session(venv_backend="none", requires=["dev"], default=False)
def soak(session: nox.Session) -> None:
    """Run many clients against a gateway, and check for leaks: `nox -s soak -- --minutes 30`."""
    run(session, "conformance.soak", *session.posargs)


@nox.session(name="upstream-diff", venv_backend="none", requires=["dev"], default=False)
def upstream_diff(session: nox.Session) -> None:
    """Compare a vendor's new API description with ours: `nox -s upstream-diff -- FILE`."""
    run(session, "codegen.upstream_diff", *session.posargs)


@nox.session(venv_backend="none", requires=["dev"], default=False)
def simulate(session: nox.Session) -> None:
    """Compare policies of placement in simulated fleets: `-- --write` writes docs/fleet.md."""
    run(session, "conformance.simulation", *session.posargs)


@nox.session(venv_backend="none", requires=["dev"], default=False)
def bench(session: nox.Session) -> None:
    """Measure the gateway and its yardsticks: `nox -s bench -- --quick`."""
    run(session, "conformance.bench", *session.posargs)


@nox.session(venv_backend="none", requires=["dev"])
def instructions(session: nox.Session) -> None:
    """Count the gateway's instructions, and compare them: `-- --write` writes them anew."""
    run(session, "conformance.bench.counts", *session.posargs)
