"""The process, its socket, and all layers between the socket and a request's plan."""
