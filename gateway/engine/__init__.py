"""One request from its plan to its last frame."""
