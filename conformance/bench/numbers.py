"""
The least that vectors cost whoever reads their numbers: three libraries in C, and nothing else.

simdjson reads an answer of LM Studio's, numpy rounds each number to 32 bits, orjson writes it. Who
passes an answer on does not need that; Ollama's answer has shorter numbers than LM Studio's.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from conformance.bench import wire
from conformance.bench.dialect import Task

COUNTS: dict[Task, int] = {"embed1": 1, "embed256": 256}
"""How many vectors a task's answer has."""
_ROUNDS = 15
_AT_LEAST_VECTORS = 256


def least_us() -> dict[Task, float]:
    """Return the CPU time for one answer of each task in microseconds, the least of several."""
    try:
        modules = [import_module(name) for name in ("simdjson", "numpy", "orjson")]
    except ImportError:
        return {}
    return {
        task: _least_us(wire.embeddings(count), count, *modules) for task, count in COUNTS.items()
    }


def _least_us(answer: bytes, count: int, simdjson: Any, numpy: Any, orjson: Any) -> float:
    times = -(-_AT_LEAST_VECTORS // count)
    parser = simdjson.Parser()
    found: list[float] = []
    for _ in range(_ROUNDS):
        began = time.process_time_ns()
        for _ in range(times):
            texts = rewritten(parser.parse(answer), numpy, orjson)
            assert len(texts) == count
        found.append((time.process_time_ns() - began) / times / 1000)
    return min(found)


def rewritten(document: Any, numpy: Any, orjson: Any) -> list[bytes]:
    """Return the text of each vector of a parsed answer, with numbers of 32 bits."""
    return [
        orjson.dumps(
            numpy.frombuffer(item["embedding"].as_buffer(of_type="d")).astype("f4"),
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        for item in document["data"]
    ]
