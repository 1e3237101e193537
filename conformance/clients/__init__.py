"""
Drivers: programs that use genuine, unmodified clients of Ollama as their users do.

Each runs its scenarios against a base URL and prints one JSON line per scenario, with `name`, `ok`
and `detail`. What is judged is form, never wording, so that any model may answer. Nothing in a
driver is about the gateway or the stand-in. `roster` lists the clients with what each must pass,
`toolchain` installs them, `pair` runs them, and `conformance/tests/clients` asserts.
"""
