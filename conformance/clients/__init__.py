"""
Drivers: programs that use genuine, unmodified clients of Ollama as their users do.

Each runs its scenarios against a base URL and prints one JSON line per scenario, with `name`, `ok`
and `detail`. What is judged is form, never wording, so that any model may answer. Here is nothing
of the gateway and nothing of the stand-in; which scenarios must be there, and what is to hold
behind the gateway meanwhile, is asserted in `conformance/tests/clients`.
"""
