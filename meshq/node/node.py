"""The node's shell: one loop, which turns the sockets and the workers, and applies what the machines decide."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from meshq.client.runtime import key_of
from meshq.config import Settings, state_dir
from meshq.core.events import Received, Send
from meshq.core.holder import Holder
from meshq.core.holding import (
    ClientGreeted,
    ClientUnreachable,
    Disown,
    DrainAsked,
    Drained,
    Entrust,
    FunctionsKnown,
    HolderEvent,
    RecallRuns,
    RevokeAnswered,
    RevokeAsked,
    SignalWorker,
    StartRuns,
)
from meshq.core.session import joined
from meshq.core.timers import earliest
from meshq.core.work import WorkerEvent, WorkerGone, WorkerReady
from meshq.errors import ConfigError
from meshq.ids import format_id, new_id
from meshq.node.commanded import Commanded
from meshq.node.entrusted import Entrusted
from meshq.node.environment import task_environment
from meshq.node.listening import OPEN_HINT, Listening, identity
from meshq.node.naming import NameClaim
from meshq.node.restarts import Restarts
from meshq.protocol.messages import Bye, Message
from meshq.transport.addresses import endpoint, is_loopback
from meshq.transport.context import make_context
from meshq.transport.loop import Loop
from meshq.workers.pool import Pool, WorkerSpec

log = logging.getLogger("meshq.node")
task_log = logging.getLogger("meshq.task")

RETRY_FULL_S = 0.01
"""How soon a route that was full is tried again: a ROUTER does not tell which of its peers has room."""
_FAREWELL_S = 0.3
"""How long results on their way out are given at the end."""


class Node:
    """One node: binds, starts its workers, and serves until it is stopped.

    Raises ``ConfigError`` where the settings, the key, the port or the modules are wrong. Its methods, but
    for ``run``, may be called from any thread and from signal handlers.
    """

    def __init__(self, settings: Settings, on_ready: Callable[[Node], None] | None = None) -> None:
        self.settings = settings
        self._key = key_of(settings)
        self._on_ready = on_ready
        self._stopping = False
        self._drain_asked = False
        self._failure: str | None = None
        self._inbox: deque[HolderEvent] = deque()
        self._due: float | None = None
        """When some machine wants its ``tick``."""
        self._claim = NameClaim(state_dir(settings), settings.mesh, settings.name)
        self.ack = identity(settings, self._claim.name, socket.gethostname(), self._key, new_id())
        self._loop = Loop()
        self._context = make_context()
        self._listening = self._listen()
        self._commanded = Commanded(self, self._listening.send)
        own_client = new_id()
        self._holder = Holder(settings.slots, own_client)
        self._entrusted = Entrusted(own_client, time.monotonic(), self._inbox.append)
        spec = WorkerSpec(
            settings.modules, settings.allow, node=self.name, max_tasks=settings.max_tasks_per_child or 0,
            env=task_environment(settings, self._listening.host, self._listening.port),
        )  # fmt: skip
        self._pool = Pool(self._loop, spec, self._on_worker, self._on_output, self._on_failed)
        self._restarts = Restarts(settings.slots, self._pool.start)
        self._effects: dict[type[Any], Callable[[Any], None]] = {
            Send: self._send,
            StartRuns: lambda effect: self._pool.run(effect.slot, effect.runs),
            RecallRuns: lambda effect: self._pool.recall(effect.slot, effect.runs),
            SignalWorker: lambda effect: self._pool.signal(effect.slot, effect.signal),
            Entrust: lambda effect: self._entrusted.take_over(effect, time.monotonic()),
            Disown: lambda effect: self._entrusted.withdraw(effect.task, time.monotonic()),
            RevokeAnswered: lambda effect: effect.token(effect.outcome),
            Drained: lambda _: self._end(),
        }

    def _listen(self) -> Listening:
        try:
            return Listening(
                self._loop,
                self._context,
                self.settings,
                self._key,
                self.ack,
                on_work=self._on_work,
                on_command=lambda command: self._commanded.take(command),
                on_greeted=lambda client: self._inbox.append(ClientGreeted(client)),
                on_lost=lambda client: self._inbox.append(ClientUnreachable(client)),
            )
        except ConfigError:
            self._loop.close()
            self._context.term()
            self._claim.close()
            raise

    # ------------------------------------------------------------------ the node's face

    @property
    def name(self) -> str:
        """The node's NAME@HOST."""
        return f"{self.ack.name}@{self.ack.host}"

    @property
    def address(self) -> str:
        """Where the node answers."""
        return endpoint(self._listening.host, self._listening.port)

    def run(self) -> None:
        """Serve, in this thread, until stopped or drained. Raises ``ConfigError`` if the workers cannot load."""
        try:
            self._restarts.begin(time.monotonic())
            while not self._stopping:
                wait_s = self._step()
                if not self._stopping:  # the step may have ended a drain
                    self._loop.turn(wait_s)
            self._farewell()
        finally:
            self._close()
        if self._failure is not None:
            raise ConfigError(self._failure)

    def drain(self) -> None:
        """Finish what runs, hand back what waits, take nothing new; then stop."""
        self._loop.post(self._begin_drain)

    def stop(self) -> None:
        """Stop at once; what runs is killed, and goes to other nodes."""
        self._loop.post(self._end)

    # ------------------------------------------------------------------ one turn

    def _step(self) -> float | None:
        """Deal with all that has come, send what is to be sent; return how long the next turn may last."""
        self._run_inbox()
        if self._due is not None and self._due <= time.monotonic():
            self._tick(time.monotonic())
        blocked = self._listening.flush()
        self._due = due = earliest(
            self._holder.next_deadline(), self._entrusted.next_deadline(), self._restarts.next_deadline()
        )
        if due is None:
            return RETRY_FULL_S if blocked else None
        wait = max(0.0, due - time.monotonic())
        return min(RETRY_FULL_S, wait) if blocked else wait

    def _tick(self, now: float) -> None:
        """Let the machines do what is due; one that is not yet due takes no harm."""
        self._entrusted.tick(now)
        self._restarts.tick(now)
        self._apply(self._holder.tick(now))
        self._run_inbox()

    def _run_inbox(self) -> None:
        while self._inbox:
            self._apply(self._holder.handle(self._inbox.popleft(), time.monotonic()))

    def _apply(self, effects: list[Any]) -> None:
        for effect in effects:
            try:
                self._effects[type(effect)](effect)
            except Exception:  # the other effects, and the node's other tasks, must not go with it
                log.exception("could not apply %s", type(effect).__name__, extra={"node": self.name})

    def _send(self, effect: Send) -> None:
        if effect.peer == self._entrusted.client:
            self._entrusted.receive(self.ack.node, effect.messages, time.monotonic())
        elif not self._listening.send(effect.peer, effect.messages):
            self._inbox.append(ClientUnreachable(effect.peer))  # it has left, and no connection is there to break

    # ------------------------------------------------------------------ clients

    def _on_work(self, client: bytes, messages: list[Message]) -> None:
        self._inbox.append(Received(client, messages))
        if any(type(message) is Bye for message in messages):
            self._run_inbox()  # the answer still finds the client
            self._listening.flush()
            self._listening.forget(client)

    def describe(self) -> dict[str, Any]:
        """Return what ``ping`` says of the node, besides that it is there."""
        return {
            "id": format_id(self.ack.node),
            "pid": os.getpid(),
            "slots": self.settings.slots,
            "secured": self.ack.secured,
            "draining": self._drain_asked,
            **self._holder.counts(),
        }

    def revoke(self, tasks: list[bytes], signal: int, answer: Callable[[dict[bytes, str]], None]) -> None:
        """Revoke tasks here; ``answer`` is called with what became of each."""
        self._entrusted.revoke(tasks, time.monotonic())
        self._inbox.append(RevokeAsked(answer, tasks, signal))

    # ------------------------------------------------------------------ workers

    def _on_worker(self, event: WorkerEvent) -> None:
        self._inbox.append(event)
        if isinstance(event, WorkerReady):
            log.debug("worker %d is ready (pid %d)", event.slot, event.pid, extra={"node": self.name})
            if self._restarts.ready(event.slot):
                self._become_ready(event)
        elif isinstance(event, WorkerGone):
            if not event.retired:
                log.warning("worker %d is gone: %s", event.slot, event.reason, extra={"node": self.name})
            self._restarts.gone(event.slot, time.monotonic())

    def _on_failed(self, slot: int, text: str) -> None:
        if self._restarts.is_ready:
            log.error("worker %d cannot be started: %s", slot, text, extra={"node": self.name})
            self._restarts.failed(slot, time.monotonic())
        else:
            self._failure = text
            self._end()

    def _on_output(self, task: str, stream: str, line: str, slot: int) -> None:
        level = logging.INFO if stream == "stdout" else logging.WARNING
        task_log.log(level, "%s", line, extra={"task_id": task, "node": self.name})

    def _become_ready(self, event: WorkerReady) -> None:
        functions = {info.name: info.source_hash for info in event.functions}
        self.ack = self.ack._replace(functions=functions)
        self._inbox.append(FunctionsKnown(frozenset(functions), frozenset(self.ack.serializers)))
        self._inbox.append(ClientGreeted(self._entrusted.client))
        self._run_inbox()
        self._entrusted.join(joined(self.ack), time.monotonic())
        self._listening.open(self.ack)
        self._say_ready()
        if self._on_ready is not None:
            self._on_ready(self)

    def _say_ready(self) -> None:
        count = len(self.ack.functions)
        log.info(
            "node %s is ready: mesh %s, %d slots, %d functions, at %s",
            self.name, self.settings.mesh, self.settings.slots, count, self.address,
            extra={"node": self.name},
        )  # fmt: skip
        if self._claim.name != self.settings.name and "name" in self.settings.origins:
            log.warning(
                "another node of this host is called %s: this one is %s", self.settings.name, self._claim.name
            )
        if not count:
            log.warning("this node offers no function: name modules, as in 'meshq node photos'")
        if self._key is None and is_loopback(self._listening.host):
            log.info("without a key, only this machine can reach it: to open it, %s", OPEN_HINT)
        elif self._key is None:
            log.warning("--insecure: anybody who reaches %s can run this node's functions", self.address)

    # ------------------------------------------------------------------ the end

    def _begin_drain(self) -> None:
        if self._drain_asked:
            return
        self._drain_asked = True
        log.info("draining: finishing what runs, taking nothing new", extra={"node": self.name})
        if not self._restarts.is_ready:
            self._end()
            return
        self._listening.withdraw()
        self._inbox.append(DrainAsked())

    def _end(self) -> None:
        self._stopping = True

    def _farewell(self) -> None:
        """Let what is on its way out be sent, for a moment."""
        end_at = time.monotonic() + _FAREWELL_S
        while self._listening.flush() and time.monotonic() < end_at:
            self._loop.turn(RETRY_FULL_S)

    def _close(self) -> None:
        self._pool.close()
        self._listening.close()
        self._loop.close()
        self._context.destroy(linger=int(_FAREWELL_S * 1000))
        self._claim.close()
        log.info("node %s has stopped", self.name, extra={"node": self.name})
