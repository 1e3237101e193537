"""
What the gateway is measured against on its own libraries; each is a process of its own.

They do as much as makes the comparison fair, and nothing of what makes a gateway right.
"""
