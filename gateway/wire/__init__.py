"""JSON, durations and timestamps as Ollama reads and writes them."""
