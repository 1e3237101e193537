"""Mapping files compiled to the contents of Python modules."""
