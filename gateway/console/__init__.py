"""The page at `/olgate/`: what runs where, as it happens."""
