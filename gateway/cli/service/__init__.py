"""`olgate service`: the gateway as a service of the system, on Linux, macOS and Windows."""
