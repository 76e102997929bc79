"""The thread of a client: its loop, its engine, and the discovery that feeds it."""

from __future__ import annotations

import concurrent.futures
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from meshq.client.engine import Engine, Listener
from meshq.client.finding import Finding, named_peers
from meshq.client.forks import Forks
from meshq.client.turning import Turning
from meshq.config import Settings, find_key_path
from meshq.core.membership import Candidate
from meshq.core.timers import earliest
from meshq.errors import ConfigError, MeshClosed, MeshqError
from meshq.ids import new_id
from meshq.protocol.messages import LOWEST_VERSION, PROTOCOL_VERSION, Hello
from meshq.transport.context import make_context
from meshq.transport.keys import MeshKey, load_key
from meshq.transport.loop import Loop

log = logging.getLogger("meshq.client")

P = ParamSpec("P")
T = TypeVar("T")
_ASK_TIMEOUT_S = 10.0
CLOSED = "this Mesh is closed: make a new one"
BROWSED_S = 0.4
"""By then mDNS, with its import, has found who is there; nodes that the user has named may know none of them."""


def key_of(settings: Settings) -> MeshKey | None:
    """Return the mesh key that the settings lead to, or None for none."""
    path = find_key_path(settings)
    return None if path is None else load_key(path)


def make_hello(mesh: str, role: str) -> Hello:
    """Return the greeting of a new client in this process, by which nodes know it from then on."""
    host, pid = socket.gethostname(), os.getpid()
    return Hello(new_id(), new_id(), mesh, "work", role, LOWEST_VERSION, PROTOCOL_VERSION, host, pid)


class LoopPart(Protocol):
    """Something that lives on a client's loop."""

    def step(self) -> None:
        """Do what is due, after each turn of the loop."""

    def timeout(self) -> float | None:
        """Return how long the next turn may last, in seconds."""

    def close(self) -> None: ...


class Runtime:
    """Runs an engine in a daemon thread, from construction until ``stop``."""

    def __init__(self, settings: Settings, listener: Listener, role: str = "client") -> None:
        self.settings = settings
        self.key = key_of(settings)
        self.hello = make_hello(settings.mesh, role)
        self._forks = Forks.count
        self._listener = listener
        self.stopping = False
        """Whether it has been told to end, or has ended."""
        self._closing = False
        self.context = make_context()
        self.loop = Loop()
        self._finding = Finding(settings, self.key, self.loop.post, self._see, self._lose)
        self.engine = Engine(
            self.loop, self.context, self.key, self.hello, listener, settings.no_nodes_timeout,
            self._finding.may_follow,
        )  # fmt: skip
        self.started_at = time.monotonic()
        self.parts: list[LoopPart] = []
        """What else takes part in the loop."""
        self._turning = Turning(self._begin, self._turn, lambda: self.loop.post(_nothing))
        self._thread = threading.Thread(target=self._run, name="meshq", daemon=True)
        self._thread.start()
        self._discoverer = threading.Thread(target=self._discover, name="meshq-discovery", daemon=True)
        self._discoverer.start()

    # ------------------------------------------------------------------ from any thread

    def check_usable(self) -> None:
        """Raise ``MeshClosed`` where this process, or this state, cannot use the mesh."""
        if self.stopping or self._closing or Forks.count != self._forks:
            self.check_process()
            raise MeshClosed(CLOSED)

    def check_process(self) -> None:
        """Raise ``MeshClosed`` in a process that was forked from the one that made the mesh."""
        if Forks.count != self._forks:
            raise MeshClosed(
                "this Mesh was made before a fork, and its sockets stayed with the parent process: "
                "make a new Mesh in the child"
            )

    @property
    def is_usable(self) -> bool:
        """Whether it is open, in the process that made it."""
        return not self.stopping and Forks.count == self._forks

    @property
    def unsafe(self) -> dict[str, str]:
        """Candidates that are not dialled as they are open to anybody: name → where."""
        return self._finding.unsafe

    def is_complete(self) -> bool:
        """Tell whether all nodes answer that were announced, or are known to those that answer; in the loop."""
        both = bool(self.settings.peers) and self.settings.mdns
        if both and time.monotonic() - self.started_at < BROWSED_S:
            return False
        return self.engine.is_complete()

    def in_loop(self) -> bool:
        """Whether the caller is called by the loop, which must not be made to wait for itself."""
        return self._turning.is_here()

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Turn the loop in the caller's thread until ``done()``; it may return early, so check.

        Raises ``MeshqError`` in a callback, and ``MeshClosed`` in a process forked from the mesh's own.
        """
        if Forks.count != self._forks:
            self.check_process()
        if not self.stopping or self.in_loop():  # where it is refused at any time
            self._turning.wait(done, timeout)

    def ask(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn`` in the loop's thread and return its value."""
        self.check_process()
        if self.stopping:
            raise MeshClosed(CLOSED)
        if self.in_loop():
            return fn(*args, **kwargs)
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            try:
                answer.set_result(fn(*args, **kwargs))
            except BaseException as error:
                answer.set_exception(error)

        self.loop.post(call)
        try:
            return answer.result(_ASK_TIMEOUT_S)
        except TimeoutError:
            if self.stopping:
                raise MeshClosed(CLOSED) from None
            raise MeshqError("the thread of this Mesh does not answer: does a callback block it?") from None

    def refuse(self) -> None:
        """Take no new work from now on."""
        self._closing = True

    def stop(self) -> None:
        """End the thread and close everything; idempotent. Takes well under a second."""
        if not self.is_usable:
            return
        self.stopping = True
        self._turning.stop()
        if not self.in_loop():
            self._thread.join(2.0)
        self._finding.close()

    # ------------------------------------------------------------------ the two threads

    def _run(self) -> None:
        try:
            self._turning.serve()
        finally:
            self.stopping = True
            self._listener.on_stopped()
            for part in self.parts:
                part.close()
            self.engine.close()
            self.loop.close()
            self.context.term()

    def _begin(self) -> None:
        """Do what was posted to the loop, without a look at the sockets."""
        self.loop.run_posted()
        self.engine.step()

    def _turn(self, limit_s: float | None, eager: bool) -> None:
        """Do one turn of the loop, and what follows from it."""
        timeout_s = self.engine.timeout()
        if limit_s is not None or self.parts:
            timeout_s = earliest(limit_s, timeout_s, *[part.timeout() for part in self.parts])
        self.loop.turn(timeout_s, eager=eager)
        self.engine.step()
        for part in self.parts:
            part.step()

    def _see(self, candidate: Candidate) -> None:
        self.engine.see(candidate)

    def _lose(self, instance: str) -> None:
        self.engine.lose(instance)

    def _discover(self) -> None:
        """Start the discoveries; apart, as the import of zeroconf alone takes longer than a round trip."""
        sources = named_peers(self.settings)
        if self.settings.mdns:
            from meshq.transport.mdns import MdnsBrowser

            sources.append(MdnsBrowser(self.settings.mesh))
        self._finding.start(sources)


def _nothing() -> None:
    """What is posted to a loop just to end its turn."""


def client_settings(
    mesh: str | None,
    key: str | os.PathLike[str] | None,
    peers: tuple[str, ...],
    insecure: bool | None,
    outbox_bytes: int | str | None = None,
) -> Settings:
    """Return the settings of a client that was given these arguments."""
    from meshq.config import load_settings

    if isinstance(peers, str):
        raise ConfigError(f"peers must be a list of addresses, such as [{peers!r}], not a text")
    flags = {"mesh": mesh, "key": None if key is None else os.fspath(key), "peers": tuple(peers)}
    return load_settings({**flags, "insecure": insecure, "outbox_bytes": outbox_bytes}, given_as="argument")
