"""The process, its socket, and everything between the socket and a request's plan."""
