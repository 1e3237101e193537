"""A stand-in for LM Studio's local server, so that everything can be tried without one.

It answers every route that the gateway may call as LM Studio does (docs/facts/lmstudio.md), and it
can be told to misbehave. It imports nothing of the gateway and needs only what the gateway needs to
run. Run it with ``python -m conformance.standin --port 0``, or inside a test with ``StandIn``.
"""

from conformance.standin.options import Options
from conformance.standin.server import StandIn

__all__ = ["Options", "StandIn"]
