"""The `olgate` command: one module for each of its commands."""
