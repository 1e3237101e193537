"""
A simulation of a fleet: how fast hosts answer when requests are placed in different ways.

It is a discrete-event simulation, so an hour of a thousand hosts takes seconds, and a seed gives
the same numbers on every machine. The gateway's own `rank` places, not a copy of it.
"""
