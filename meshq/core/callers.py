"""Who is at the other end of each connection of a node: clients by the lanes they have opened.

Tables key on the authenticated key and the client's id; only who knows the secret given with the first HELLO
takes an id over on a new connection. A client that finds a node at several addresses greets it over each, and
keeps one connection, which need not be the last that it greeted over: it is answered where it speaks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from meshq.protocol.messages import Hello, Refused
from meshq.protocol.versions import agreed, refuse_client

LANES = ("work", "control")
"""What a connection may be for: one that names lanes of its own would make a caller of each."""

MAX_CALLERS = 20_000
"""Bounds the table that a peer can grow by greeting with new ids; twice as many as may be held, as some
greet on the control lane alone. A client stays as long as the node has its account, or a connection of it."""

ROUTES_EACH = 16
"""How many connections of one lane are known at a time: more than a client tries at once, and no end of them."""


class Caller(NamedTuple):
    """One lane of one client."""

    client: bytes
    lane: str


class Callers:
    """Which route leads to which caller, and back: the newest greeting counts, until another route is used."""

    def __init__(self, mesh: str) -> None:
        self._mesh = mesh
        self._secrets: dict[bytes, dict[str, bytes]] = {}
        """Of each client, by the key that it has shown."""
        self._held: set[bytes] = set()
        """The clients that have greeted on the work lane: the node has an account of each, until it forgets it."""
        self._callers: dict[bytes, Caller] = {}
        self.who: Callable[[bytes], Caller | None] = self._callers.get
        """Returns who greeted over a route."""
        self.is_known: Callable[[bytes], bool] = self._callers.__contains__
        """Tells whether somebody has greeted over a route."""
        self._greetings: dict[bytes, int] = {}
        """The number of the latest greeting over each route."""
        self._routes: dict[Caller, list[bytes]] = {}
        """All routes of each caller, in the order of their greetings."""
        self._current: dict[tuple[bytes, str], bytes] = {}
        """Where each caller is answered; found by a plain tuple too, which is its equal and takes less to make."""

    def greet(self, route: bytes, user: str, hello: Hello) -> Refused | None:
        """Take in a greeting; return why it is refused, or None."""
        refusal = self._refusal(user, hello)
        if refusal is not None:
            return refusal
        caller = Caller(hello.client, hello.lane)
        self.drop(route)
        self._secrets.setdefault(hello.client, {})[user] = hello.secret
        if hello.lane == "work":
            self._held.add(hello.client)
        routes = self._routes.setdefault(caller, [])
        routes.append(route)
        self._callers[route] = caller
        self._greetings[route] = hello.greeting
        self._current[caller] = route
        if len(routes) > ROUTES_EACH:
            self.drop(routes[0])
        return None

    def use(self, route: bytes) -> bool:
        """Answer over this route, which its caller has used, from now on; return whether that is another one."""
        caller = self._callers[route]
        if self._current.get(caller) == route:
            return False
        self._current[caller] = route
        return True

    def answered(self, lane: str) -> list[tuple[bytes, int]]:
        """Return the routes over which the callers of a lane are answered, each with its latest greeting."""
        return [(route, self._greetings[route]) for (_, its), route in self._current.items() if its == lane]

    def route(self, client: bytes, lane: str) -> bytes | None:
        """Return the route to a client's lane."""
        return self._current.get((client, lane))

    def drop(self, route: bytes) -> Caller | None:
        """Forget a route that leads nowhere; return who was answered there."""
        caller = self._callers.pop(route, None)
        if caller is None:
            return None
        del self._greetings[route]
        routes = self._routes[caller]
        routes.remove(route)
        if not routes:
            del self._routes[caller]
            self._let_go(caller.client)
        if self._current.get(caller) != route:
            return None
        del self._current[caller]
        return caller

    def forget(self, client: bytes) -> list[bytes]:
        """Forget a client without an account, so that its place is free; return its routes, of all lanes."""
        self._secrets.pop(client, None)
        self._held.discard(client)
        routes = [route for lane in LANES for route in self._routes.get(Caller(client, lane), ())]
        for route in routes:
            self.drop(route)
        return routes

    def _let_go(self, client: bytes) -> None:
        """Forget a client whose last connection is gone, unless there is an account of it."""
        if client not in self._held and not any(Caller(client, lane) in self._routes for lane in LANES):
            self._secrets.pop(client, None)

    def _refusal(self, user: str, hello: Hello) -> Refused | None:
        if hello.mesh != self._mesh:
            return Refused("mesh", f"this node is of the mesh {self._mesh!r}, not {hello.mesh!r}")
        if agreed(hello) is None:
            return refuse_client(hello.lowest, hello.highest)
        if hello.lane not in LANES:
            return Refused("lane", f"this node knows the lanes {' and '.join(LANES)}, not {hello.lane!r}")
        known = self._secrets.get(hello.client, {}).get(user)
        if known is not None and known != hello.secret:
            return Refused("owner", "this client id belongs to somebody else")
        if known is None and len(self._secrets) >= MAX_CALLERS:
            return Refused("full", "this node has as many clients as it takes")
        return None
