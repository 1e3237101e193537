"""Settings: their schema, their sources, and the texts for wrong values."""
