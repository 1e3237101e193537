"""Settings: their schema, their sources, and what is said of a wrong one."""
