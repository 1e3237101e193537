"""
How fast the gateway is: what it adds to LM Studio's time, and what it costs per token.

It has a stand-in that is faster than anything in front of it, a load generator, two yardsticks
built on the gateway's own libraries, the measuring and the report, and a check that counts work
instead of time. The cases check that answers are right.
"""
