"""LM Studio's own routes, passed through with the few changes that clients need."""
