"""Breaks the gateway rule by rule; a case must notice."""
