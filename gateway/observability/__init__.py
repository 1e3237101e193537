"""What is noted, counted and logged of a request."""
