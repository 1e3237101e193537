"""
Servers that the gateway is measured against; they use its libraries, each in its own process.

They do as much as a fair comparison needs, and nothing that makes a gateway correct.
"""
