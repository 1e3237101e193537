"""
A real Ollama beside the gateway: generated requests go to both, and every answer is compared.

`real` builds and starts Ollama, `requests` and `sequences` generate, `compare` compares,
`deviations` knows what is declared in specs/ollama.yaml, `minimise` makes what is left small, and
`session` puts it together.
"""
