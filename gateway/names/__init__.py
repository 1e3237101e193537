"""Model names: their grammar, their keys in LM Studio, and what a name tells."""
