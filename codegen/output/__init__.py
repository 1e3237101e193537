"""Compiled modules, structs and pages printed as text."""
