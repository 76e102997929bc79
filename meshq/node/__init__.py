"""The node: the holder's effects carried out with real sockets and real workers."""
