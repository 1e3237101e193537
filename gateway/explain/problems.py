"""
The one exception of this room: what was given cannot be explained, and what to do.
"""


class NotExplained(Exception):
    """What was given cannot be explained; one sentence says why, and the next step."""
