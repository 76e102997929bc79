"""The wire: every message, how it is packed, and what is refused. No sockets, clock or threads."""
