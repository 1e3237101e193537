"""JSON as Ollama reads and writes it."""
