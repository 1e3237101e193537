"""Requests that wait for a slot of their model: their order, and their waiting (docs/queue.md)."""
