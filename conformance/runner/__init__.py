"""Runs cases against a gateway and a stand-in."""
