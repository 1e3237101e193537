"""
Several hosts behind one gateway: which of them serves a request (docs/fleet.md).
"""
