"""
What the pages show can be typed: each block of commands is run here, or says why it is not.

A comment before a block says how: `run`, `run with a gateway` (at the address that the pages use),
or `not run: REASON`. Blocks of settings are read as settings, and JSON and YAML are parsed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from conformance.runner.processes import clean_environment, listening
from gateway.settings.sources import read
from gateway.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("conformance/*/README.md")])
ADDRESS = "127.0.0.1:11434"
"""The address that all pages use."""

SECRETS = '"/run/secrets/'
"""The folder of files with secrets that all pages use."""

KNOWN = {"sh", "python", "json", "yaml", "toml", "diff", "mermaid", "console", ""}
PARSED = {"json", "yaml", "toml"}
WANT_A_MARK = {"sh", "python"}
LIMIT_S = 120

_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>[^>\n]+) -->\n)?^(?P<indent> *)```(?P<kind>\w*)[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the comment before it."""

    page: str
    line: int
    kind: str
    mark: str
    text: str

    def __str__(self) -> str:
        """Return where it is; pytest shows it as the test's name."""
        return f"{self.page}:{self.line}"


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """Yield the blocks of a page, without the indent of a list."""
    for found in _BLOCK.finditer(text):
        indent = len(found["indent"])
        body = "".join(line[indent:] for line in found["text"].splitlines(keepends=True))
        line = text.count("\n", 0, found.start("kind")) + 1
        yield Block(page, line, found["kind"], (found["mark"] or "").strip(), body)


BLOCKS = [
    block
    for page in PAGES
    for block in blocks_of(page.relative_to(ROOT).as_posix(), page.read_text("utf-8"))
]
RUN = [block for block in BLOCKS if block.mark.startswith("run")]


def complaint(block: Block) -> str | None:
    """Say what is wrong with a block's form; None if nothing is."""
    if block.kind not in KNOWN:
        return f"{block}: nobody knows what to do with a block of {block.kind}"
    if block.kind not in WANT_A_MARK or block.mark in ("run", "run with a gateway"):
        return None
    if re.match(r"not run: \w+ \w+", block.mark):
        return None
    return f"{block}: say before it `run`, `run with a gateway`, or `not run: REASON`"


def test_every_block_is_run_or_says_why_not() -> None:
    """A command that nobody ever ran is wrong sooner or later."""
    assert [] == [wrong for block in BLOCKS if (wrong := complaint(block))]


@pytest.mark.parametrize("mark", ["", "<!-- not run: -->\n", "<!-- ran -->\n", "<!-- run -->\n\n"])
def test_a_block_without_a_mark_is_found(mark: str) -> None:
    """Also with a mark that says nothing, or that stands elsewhere."""
    (block,) = blocks_of("page.md", f"words\n\n{mark}```sh\ncommand\n```\n")

    assert complaint(block)


def test_a_block_in_a_list_is_found() -> None:
    """With its indent, which is not the command's."""
    (block,) = blocks_of("page.md", "1. Type:\n\n   <!-- run -->\n   ```sh\n   a\n     b\n   ```\n")

    assert ("run", "a\n  b\n", 4) == (block.mark, block.text, block.line)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a gateway that keeps exchanges, with the stand-in behind it; give its host and port."""
    settings = tmp_path_factory.mktemp("settings") / "config.toml"
    settings.write_text("[inspect]\nrequests = 20\n", "utf-8")
    with ExitStack() as started:
        upstream = started.enter_context(listening("conformance.standin", "--port", "0"))
        gateway = ("gateway", "serve", "--host", "127.0.0.1", "--port", "0", "--upstream", upstream)
        url = started.enter_context(listening(*gateway, "--config", str(settings)))
        yield url.removeprefix("http://")


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_can_be_typed(block: Block, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Every command of it succeeds, in an empty folder and an empty home with a store."""
    store = tmp_path / "store.sqlite3"
    SqliteStore(str(store)).close()
    text = block.text
    if block.mark == "run with a gateway":
        text = text.replace(ADDRESS, request.getfixturevalue("address"))
    shell = ["bash", "-euo", "pipefail", "-c"]
    result = subprocess.run(
        [*([sys.executable, "-c"] if block.kind == "python" else shell), text],
        cwd=tmp_path,
        env={
            **clean_environment(),
            "HOME": str(tmp_path),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "OLGATE_STORE_PATH": str(store),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert 0 == result.returncode, f"{block}\n{result.stdout}\n{result.stderr}"
    assert '{"error"' not in result.stdout


def test_the_first_request_is_answered(address: str) -> None:
    """The block of the README that a newcomer pastes gets words from a model."""
    (block,) = [each for each in RUN if each.page == "README.md" and "MODEL=" in each.text]
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text.replace(ADDRESS, address)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )

    last = json.loads(result.stdout.splitlines()[-1])
    assert (True, "stop") == (last["done"], last["done_reason"])


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.kind in PARSED], ids=str)
def test_data_can_be_read(block: Block, tmp_path: Path) -> None:
    """TOML is always a settings file, and is read as one."""
    match block.kind:
        case "json":
            json.loads(block.text)
        case "yaml":
            list(YAML(typ="safe").load_all(block.text))
        case _:
            tomllib.loads(block.text)
            text = block.text.replace(SECRETS, f'"{tmp_path}/')
            for name in re.findall(f'"{tmp_path}/([^"]+)"', text):
                (tmp_path / name).write_text("a-secret-of-its-own", "utf-8")
                (tmp_path / name).chmod(0o600)
            file = tmp_path / "config.toml"
            file.write_text(text, "utf-8")
            read({}, {}, file)
