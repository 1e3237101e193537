"""
The floor of embeddings: the pass-through, with the numbers of vectors read and written anew.

`python -m conformance.bench.yardsticks.vectors --upstream URL`; it needs the extra `vectors`.

simdjson reads a whole answer of LM Studio's, numpy rounds each number to 32 bits, orjson writes it.
Nothing is checked, and the event loop does nothing else meanwhile: that is the least that
Ollama's answer takes with these libraries, as its numbers are shorter than LM Studio's.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

import aiohttp

from conformance.bench.yardsticks.passthrough import PassThrough
from conformance.bench.yardsticks.serving import serve

LIBRARIES: Final = ("simdjson", "numpy", "orjson")
_EMBEDDINGS: Final = "/v1/embeddings"


def missing() -> list[str]:
    """Return the libraries that are not installed."""
    return [name for name in LIBRARIES if find_spec(name) is None]


class Vectors(PassThrough):
    """Answers embeddings in Ollama's form, and passes on everything else."""

    def __init__(self, upstream: str) -> None:
        """Load the libraries before the first request."""
        super().__init__(upstream)
        import numpy
        import orjson
        import simdjson

        self._numpy, self._orjson = numpy, orjson
        self._parser = simdjson.Parser()

    async def give(self, answer: aiohttp.ClientResponse, path: str, send: Any) -> None:
        """Send vectors rewritten, and any other answer as it comes."""
        if path != _EMBEDDINGS:
            await super().give(answer, path, send)
            return
        body = self.rewritten(await answer.read())
        headers = [
            (b"content-type", b"application/json; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def rewritten(self, data: bytes) -> bytes:
        """Return an answer of LM Studio's as one of Ollama's, without its times."""
        dumps, numpy, option = self._orjson.dumps, self._numpy, self._orjson.OPT_SERIALIZE_NUMPY
        document: Any = self._parser.parse(data)
        vectors = [
            dumps(
                numpy.frombuffer(item["embedding"].as_buffer(of_type="d")).astype("f4"),
                option=option,
            )
            for item in document["data"]
        ]
        model = dumps(document["model"])
        # A parser with a document reads no other one.
        del document
        return b'{"model":%b,"embeddings":[%b]}' % (model, b",".join(vectors))


if __name__ == "__main__":
    serve("vectors", Vectors)
