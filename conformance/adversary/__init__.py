"""Hostile clients and a hostile LM Studio around a gateway that has to stay true to all others."""
