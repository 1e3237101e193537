"""The types and functions that generated code uses."""
