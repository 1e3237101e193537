"""
A real engine: llama.cpp's own server in this process, with tiny models that are made on the spot.

It is what an LM Studio has inside, without LM Studio: the gateway meets it as a plain host of the
OpenAI dialect. Here is nothing of the gateway; what must hold is asserted in
`conformance/tests/engine`.
"""
