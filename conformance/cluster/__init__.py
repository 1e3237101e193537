"""
Several gateways, hosts and a store, with faults: clients and hosts write a history of what happens.

`checker` reads the history afterwards, and says which of the invariants was broken.
"""
