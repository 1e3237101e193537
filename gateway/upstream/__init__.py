"""HTTP to LM Studio: connections, exchanges, event streams, and the names of failures."""
