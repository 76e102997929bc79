"""The pure state machines: no sockets, clock, threads or randomness of their own.

Each is ``handle(event, now) -> effects``, ``next_deadline()`` and ``tick(now) -> effects``. The caller owes
them one thing: apply every effect, in order. ``now`` is a monotonic reading in seconds.
"""
