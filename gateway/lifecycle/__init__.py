"""Loads and unloads of models, keep-alive timers, and the gateway's own instances."""
