"""Loads and unloads of models, keep-alive timers, and which instances the gateway owns."""
