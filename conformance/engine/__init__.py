"""
A real engine: llama.cpp's own server in this process, with tiny models that are made on the spot.

LM Studio runs the same kind of engine. The gateway treats this one as a plain host of the OpenAI
dialect. The package imports nothing of the gateway; `conformance/tests/engine` has the assertions.
"""
