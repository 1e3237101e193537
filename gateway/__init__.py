"""A gateway that speaks the Ollama HTTP API and is served by LM Studio."""
