"""What judges the gateway from outside: the stand-in, cases, fixtures and their runner."""
