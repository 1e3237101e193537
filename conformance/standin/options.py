"""The stand-in's options, and how the command line states them."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from conformance.standin.catalogue import DEFAULT, Model, check, read_catalogue

HostVersion = Literal["0.4", "0.3", "openai"]
"""Which server is acted: LM Studio 0.4.24, LM Studio 0.3.14, or any other OpenAI-compatible one."""

Writes = Literal["event", "bytes", "whole"]
"""How a stream is cut into writes: one event each, one byte each, or all at once at the end."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a stand-in behaves. Times in milliseconds unless the name says otherwise.

    `rate` is in tokens per second and `parallel` in requests per instance; for both 0 is no limit.
    `max_instances` is how many instances fit into its memory, 0 is no limit. `load_again` says
    what loading a loaded model does, which LM Studio is not known to do in one way only
    (docs/facts/lmstudio.md#load-again). With `says`, pieces of a text, every question is answered
    by this text unless it carries a script. What happens is written to the file `history`,
    in which the stand-in is called `name`.
    """

    host: str = "127.0.0.1"
    port: int = 0
    host_version: HostVersion = "0.4"
    models: tuple[Model, ...] = DEFAULT
    token: str | None = None
    jit: bool = True
    auto_evict: bool = False
    load_ms: int = 0
    first_token_ms: int = 0
    rate: float = 0.0
    parallel: int = 4
    max_instances: int = 0
    load_again: Literal["second", "noop"] = "second"
    dimension: int = 32
    cors: bool = False
    fault_models: bool = False
    fixtures: Path | None = None
    writes: Writes = "event"
    keep_alive_s: int = 5
    says: tuple[str, ...] = ()
    history: Path | None = None
    name: str = "standin"

    def __post_init__(self) -> None:
        check(self.models)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m conformance.standin``."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.standin", description="A stand-in for LM Studio's local server."
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    add("--port", type=int, required=True, help="port to listen on, 0 for a free one")
    add("--host-version", choices=("0.4", "0.3", "openai"), default="0.4", help="server to imitate")
    add("--catalogue", type=Path, metavar="FILE", help="JSON list of models instead of the default")
    add("--token", metavar="T", help="require this API token")
    add("--no-jit", dest="jit", action="store_false", help="do not load a model for a request")
    add("--auto-evict", action="store_true", help="keep only the last model that a request loaded")
    add("--load-ms", type=int, default=0, metavar="N", help="milliseconds that a load takes")
    add(
        "--first-token-ms", type=int, default=0, metavar="N", help="milliseconds to the first token"
    )
    add(
        "--rate",
        type=float,
        default=0.0,
        metavar="TOKENS_PER_S",
        help="tokens per second, 0 for no limit",
    )
    add("--parallel", type=int, default=4, metavar="N", help="parallel requests of an instance")
    add("--max-instances", type=int, default=0, metavar="N", help="instances that fit in memory")
    add("--load-noop", action="store_true", help="loading a loaded model starts no second instance")
    add("--dimension", type=int, default=32, metavar="N", help="length of embeddings (default 32)")
    add("--cors", action="store_true", help="answer with CORS headers")
    add("--fault-models", action="store_true", help="list the models that act out faults")
    add("--fixtures", type=Path, metavar="DIR", help="answer from the fixture files in a folder")
    add(
        "--writes",
        choices=("event", "bytes", "whole"),
        default="event",
        help="how streams are cut into writes",
    )
    add("--says", nargs="+", default=(), metavar="PIECE", help="answer this to every question")
    add("--history", type=Path, metavar="FILE", help="write what happens to this file")
    add("--name", default="standin", help="what the stand-in is called in that file")
    add("--exit-with-stdin", action="store_true", help="end when standard input is closed")
    return parser


def read_options(arguments: Sequence[str] | None = None) -> tuple[Options, bool]:
    """Read the command line; return the options, and whether to end with standard input.

    Ends the process with code 2 and a sentence when the command line or the catalogue is wrong.
    """
    parser = build_parser()
    flags = parser.parse_args(arguments)
    models = DEFAULT
    if flags.catalogue is not None:
        try:
            models = read_catalogue(flags.catalogue)
        except (OSError, ValueError) as error:
            parser.error(f"--catalogue: {error}")
    if flags.fixtures is not None and not flags.fixtures.is_dir():
        parser.error(f"--fixtures: {flags.fixtures} is no folder")
    options = Options(
        host=flags.host,
        port=flags.port,
        host_version=flags.host_version,
        models=models,
        token=flags.token,
        jit=flags.jit,
        auto_evict=flags.auto_evict,
        load_ms=flags.load_ms,
        first_token_ms=flags.first_token_ms,
        rate=flags.rate,
        parallel=flags.parallel,
        max_instances=flags.max_instances,
        load_again="noop" if flags.load_noop else "second",
        dimension=flags.dimension,
        cors=flags.cors,
        fault_models=flags.fault_models,
        fixtures=flags.fixtures,
        writes=flags.writes,
        says=tuple(flags.says),
        history=flags.history,
        name=flags.name,
    )
    return options, flags.exit_with_stdin
