"""
Many clients at once for a long time: whether anything leaks, hangs or lies.

`python -m conformance.soak --minutes 10`. A gateway runs in a process of its own, the stand-in and
the clients in this one, over real sockets.
"""
