"""
Serves one tiny model: `python -m conformance.engine [--embedding] [--port 0]`.

Says `listening on http://HOST:PORT` on standard error and serves until it is ended. One answer at
a time is made; `/slots` and `/metrics` tell of it.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import xllamacpp

from conformance.engine.model import (
    CONTEXT,
    EMBEDDING_CONTEXT,
    write_chat_model,
    write_embedding_model,
)

CHAT_MODEL, EMBEDDING_MODEL = "tiny-chat", "tiny-embedding"


def start(folder: Path, port: int, *, is_embedding: bool) -> xllamacpp.Server:
    """Make a model in a folder and return the engine that serves it."""
    path = folder / "model.gguf"
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.verbosity = 0
    if is_embedding:
        write_embedding_model(path)
        params.model_alias = {EMBEDDING_MODEL}
        params.embedding = True
        # A text is not divided for this kind of model, so it has to fit into one batch.
        params.n_ctx = params.n_batch = params.n_ubatch = EMBEDDING_CONTEXT
    else:
        write_chat_model(path)
        params.model_alias = {CHAT_MODEL}
        params.n_ctx = CONTEXT
        params.use_jinja = True
        params.endpoint_slots = params.endpoint_metrics = True
    return xllamacpp.Server(params)


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m conformance.engine")
    parser.add_argument("--embedding", action="store_true", help="serve the embedding model")
    parser.add_argument("--port", type=int, default=0, help="port to listen on, 0 for a free one")
    said = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory() as folder:
        engine = start(Path(folder), said.port, is_embedding=said.embedding)
        print(f"listening on {engine.listening_address}", file=sys.stderr, flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
