"""The node's shell: one loop, which turns the sockets and the workers, and applies what the machines decide."""

from __future__ import annotations

import logging
import math
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from meshq.client.runtime import key_of, make_hello
from meshq.config import Settings, state_dir
from meshq.control.asking import Answer
from meshq.core.events import Received, Send
from meshq.core.holder import Holder
from meshq.core.holding import (
    ClientForgotten,
    ClientGreeted,
    ClientUnreachable,
    Disown,
    DrainAsked,
    Drained,
    Entrust,
    FunctionsKnown,
    GraceOver,
    HandOver,
    HolderEvent,
    KillWorker,
    PurgeAnswered,
    RecallRuns,
    ResizeAsked,
    RevocationsAdded,
    RevocationsHeard,
    RevokeAnswered,
    SignalWorker,
    SoftLimit,
    StartRuns,
    StartWorker,
    StopWorker,
)
from meshq.core.session import HOME
from meshq.core.timers import earliest
from meshq.core.work import WorkerEvent, WorkerGone, WorkerReady
from meshq.errors import ConfigError
from meshq.ids import new_id
from meshq.node.commanded import Commanded
from meshq.node.entrusted import Entrusted
from meshq.node.environment import task_environment
from meshq.node.helper import Helper
from meshq.node.listening import Listening, identity
from meshq.node.naming import NameClaim
from meshq.node.peering import AGREE_S, Peering
from meshq.node.peers import make_session
from meshq.node.remembering import Remembering
from meshq.node.restarts import Restarts
from meshq.node.sayings import say_ready, say_that_grace_is_over, say_what_it_waits_for
from meshq.node.steering import Steering
from meshq.protocol.messages import Bye, Message
from meshq.transport.addresses import endpoint
from meshq.transport.context import make_context
from meshq.transport.keys import fingerprint
from meshq.transport.loop import Loop
from meshq.transport.routes import RETRY_S
from meshq.workers.pool import Pool, WorkerSpec

log = logging.getLogger("meshq.node")
task_log = logging.getLogger("meshq.task")

_FAREWELL_S = 0.3
"""How long results on their way out are given at the end."""
_GOODBYE_S = 0.1
"""How long peers are given to answer the leave: one that is gone without a word is remembered for an hour."""
_ASK_S = 0.001
"""How often all machines are asked at most when they want their ``tick``, which may so be 3 ms late. To ask takes
some 10 µs, and a round trip is two turns of the loop."""


_new = tuple.__new__  # what Received(…) calls


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
        self._drain_asked = self._drained = False
        self._leaving = False
        """Whether it is to end once it is drained."""
        self._grace_at: float | None = None
        """When what runs has had its time, while it drains."""
        self._failure: str | None = None
        self._inbox: deque[HolderEvent] = deque()
        self._due: float | None = None
        """When some machine wants its ``tick``, as far as was known when they were asked last."""
        self._asked_at = -math.inf
        self._open_by: float | None = None
        """Until when it waits at most for its peers, before it lets clients in."""
        self._claim = NameClaim(state_dir(settings), settings.mesh, settings.name)
        self.ack = identity(settings, self._claim.name, socket.gethostname(), self._key, new_id())
        self._loop = Loop()
        self._context = make_context()
        self._listening = self._listen()
        hello = make_hello(settings.mesh, "node")
        self._holder = Holder(settings.slots, hello.client, settings.hold_bytes)
        self._remembering = self._remember()
        own_key = "" if self._key is None else fingerprint(self._key)
        session = make_session(self.ack.node, own_key, time.monotonic(), random.Random())
        self._entrusted = Entrusted(hello.client, session, self._inbox.append)
        self._holder.survey.is_elsewhere = self._entrusted.is_elsewhere
        self._peering = Peering(
            self._loop, self._context, settings, self._key, hello, self.ack, self._listening.address,
            self._entrusted, self._holder,
            refuse=self._refuse, on_known=self._listening.name_peers, on_air=self._listening.go_on_air,
        )  # fmt: skip
        spec = WorkerSpec(
            settings.modules, settings.allow, node=self.name, max_tasks=settings.max_tasks_per_child or 0,
            env=task_environment(settings, self._listening.host, self._listening.port),
            pickles="pickle" in self.ack.serializers,
        )  # fmt: skip
        self._pool = Pool(self._loop, spec, self._on_worker, self._on_output, self._on_failed)
        self._restarts = Restarts(settings.slots, self._pool.start)
        self._helper = Helper(self._loop, spec, self._on_output)
        steering = Steering(self, self._holder, self._pool, self._entrusted, self._inbox.append)
        self._commanded = Commanded(steering, self._listening.send)
        self._effects: dict[type[Any], Callable[[Any], None]] = {
            Send: self._send,
            StartRuns: lambda effect: self._pool.run(effect.slot, effect.runs),
            RecallRuns: lambda effect: self._pool.recall(effect.slot, effect.runs),
            SignalWorker: lambda effect: self._pool.signal(effect.slot, effect.signal),
            SoftLimit: lambda effect: self._pool.soft_limit(effect.slot, effect.run),
            KillWorker: lambda effect: self._pool.kill(effect.slot),
            StartWorker: lambda effect: self._restarts.add(effect.slot),
            StopWorker: self._stop_worker,
            Entrust: lambda effect: self._entrusted.take_over(effect, time.monotonic()),
            Disown: lambda effect: self._entrusted.withdraw(effect.task, time.monotonic()),
            HandOver: lambda effect: self._entrusted.hand_over(effect.tasks, time.monotonic()),
            RevokeAnswered: lambda effect: effect.token(effect.outcome),
            RevocationsAdded: self._on_revocations,
            PurgeAnswered: lambda effect: effect.token(effect),
            ClientForgotten: lambda effect: self._listening.forget(effect.client),
            Drained: lambda _: self._on_drained(),
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
                on_greeted=lambda *greeted: self._inbox.append(ClientGreeted(*greeted)),
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
            self._peering.start()
            self._restarts.begin(time.monotonic())
            while not self._stopping:
                wait_s = self._step()
                if not self._stopping:  # the step may have ended a drain
                    self._loop.turn(wait_s, eager=True)
            self._farewell()
        finally:
            self._close()
        if self._failure is not None:
            raise ConfigError(self._failure)

    @property
    def peers(self) -> list[str]:
        """NAME@HOST of the other nodes that it knows."""
        return [str(name) for _, name, _ in self._listening.ack.peers]

    @property
    def is_draining(self) -> bool:
        """Whether it takes nothing new."""
        return self._drain_asked

    @property
    def is_leaving(self) -> bool:
        """Whether it ends as soon as it is drained."""
        return self._leaving

    def drain(self, stay: bool = False) -> None:
        """Finish what runs, hand back what waits, take nothing new; then stop, or ``stay`` until told to stop."""
        self._loop.post(self._begin_drain, stay)

    def stop(self) -> None:
        """Stop at once; what runs is killed, and goes to other nodes."""
        self._loop.post(self._end)

    # ------------------------------------------------------------------ what is asked of it in the loop's thread

    def resize(self, slots: int) -> None:
        """Have so many slots from now on. Raises ``ConfigError`` while the node starts or drains."""
        if self._drain_asked or not self._restarts.is_ready:
            doing = "draining" if self._drain_asked else "still starting"
            raise ConfigError(f"{self.name} is {doing}: it cannot be given another number of slots now")
        self.ack = self.ack._replace(slots=slots)
        self._listening.resize(slots)
        self._entrusted.join(self.ack, time.monotonic())
        self._inbox.append(ResizeAsked(slots))

    def user_command(self, name: str, arguments: dict[str, Any], seconds: float, answer: Answer) -> None:
        """Carry out a control command of the user's. Raises ``ConfigError``, or calls ``answer`` later."""
        self._helper.carry_out(name, arguments, seconds, answer, time.monotonic())

    # ------------------------------------------------------------------ one turn

    def _step(self) -> float | None:
        """Deal with all that has come, send what is to be sent; return how long the next turn may last."""
        if self._inbox:
            self._run_inbox()
        if self._due is not None and self._due <= time.monotonic():
            self._tick(time.monotonic())
            self._asked_at = -math.inf
        if self._open_by is not None:
            self._open_if_agreed(time.monotonic())
        if self._peering.peers.touched:
            self._peering.step()
        self._listening.flush()
        return self._wait_s(time.monotonic())

    def _wait_s(self, now: float) -> float | None:
        """Return how long the next turn may last, by what the machines want, or wanted just now."""
        if now < self._asked_at + _ASK_S:
            ask_at = self._asked_at + 2 * _ASK_S  # not so soon that the loop would not look before it sleeps
            wait_s = (ask_at if self._due is None or self._due > ask_at else self._due) - now
            return wait_s if wait_s > 0.0 else 0.0  # min and max would take a third of this step
        self._asked_at = now
        self._due = due = earliest(
            self._holder.next_deadline(), self._entrusted.next_deadline(), self._restarts.next_deadline(),
            self._helper.next_deadline(), self._peering.due, self._open_by, self._grace_at,
            self._listening.retry_at,
        )  # fmt: skip
        return None if due is None else max(0.0, due - now)

    def _tick(self, now: float) -> None:
        """Let the machines do what is due; one that is not yet due takes no harm."""
        self._entrusted.tick(now)
        self._restarts.tick(now)
        self._helper.tick(now)
        if self._grace_at is not None and self._grace_at <= now:
            self._end_grace()
        self._apply(self._holder.tick(now))
        self._run_inbox()
        self._peering.step()

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
            self._entrusted.receive(HOME, effect.messages, time.monotonic())
        elif not self._listening.send(effect.peer, effect.messages):
            self._inbox.append(ClientUnreachable(effect.peer))  # it has left, and no connection is there to break

    # ------------------------------------------------------------------ clients

    def _on_work(self, client: bytes, messages: list[Message]) -> None:
        self._inbox.append(_new(Received, (client, messages)))
        for message in messages:
            if type(message) is Bye:
                self._run_inbox()  # the answer still finds the client
                self._listening.flush()
                self._listening.forget(client)
                return

    # ------------------------------------------------------------------ what is refused

    def _remember(self) -> Remembering:
        """Refuse what this node refused in its earlier life."""
        path = self._claim.directory / f"{self.settings.mesh}.{self._claim.name}.revoked"
        remembering = Remembering(path, lambda: self._holder.revoked(time.monotonic()))
        self._holder.handle(RevocationsHeard(remembering.open(), stored=True), time.monotonic())
        return remembering

    def _refuse(self, ids: Sequence[Sequence[Any]]) -> None:
        self._inbox.append(RevocationsHeard(ids))
        self._run_inbox()

    def _on_revocations(self, effect: RevocationsAdded) -> None:
        self._remembering.add(effect.ids)
        self._entrusted.revoke([task for task, _ in effect.ids], time.monotonic())
        self._peering.peers.tell(effect.ids, time.monotonic())

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

    def _stop_worker(self, effect: StopWorker) -> None:
        self._restarts.remove(effect.slot)
        self._pool.stop(effect.slot)

    def _on_output(self, task: str, stream: str, line: str, slot: int) -> None:
        level = logging.INFO if stream == "stdout" else logging.WARNING
        task_log.log(level, "%s", line, extra={"task_id": task, "node": self.name})

    def _become_ready(self, event: WorkerReady) -> None:
        aliases = {alias: info.name for info in event.functions for alias in info.aliases}
        functions = {name: info.source_hash for info in event.functions for name in (info.name, *info.aliases)}
        careful = [info for info in event.functions if info.options.get("delivery") == "at-most-once"]
        once = [name for info in careful for name in (info.name, *info.aliases)]
        self.ack = self.ack._replace(functions=functions, aliases=aliases, once=once)
        options = {info.name: info.options for info in event.functions if info.options}
        self._helper.offer(frozenset(event.commands))
        self._inbox.append(FunctionsKnown(frozenset(functions), frozenset(self.ack.serializers), options, aliases))
        self._inbox.append(ClientGreeted(self._entrusted.client))
        self._run_inbox()
        self._entrusted.join(self.ack, time.monotonic())
        self._open_by = time.monotonic() + AGREE_S

    def _open_if_agreed(self, now: float) -> None:
        """Let clients in, once the peers have told what is revoked, or have had their time."""
        if self._open_by is not None and now < self._open_by and not self._peering.agrees(now):
            return
        self._open_by = None
        self._listening.open(self.ack)
        self._peering.peers.opened(now)
        count = len(self.ack.functions) - len(self.ack.aliases)
        say_ready(self.name, self.settings, count, self.address, self._listening.host, self._key is not None)
        if self._on_ready is not None:
            self._on_ready(self)

    # ------------------------------------------------------------------ the end

    def _begin_drain(self, stay: bool) -> None:
        self._leaving = self._leaving or not stay
        if self._leaving:
            if self._drained or not self._restarts.is_ready:
                self._end()
                return
            self._listening.withdraw()
        if not self._drain_asked:
            self._drain_asked = True
            self.ack = self.ack._replace(draining=True)
            self._listening.drain()
            self._inbox.append(DrainAsked())
            if self.settings.grace is not None:
                self._grace_at = time.monotonic() + self.settings.grace
            self._run_inbox()
        count, seconds = self._left_behind()
        say_what_it_waits_for(self.name, self._holder.counts()["running"], count, seconds, self._leaving)

    def _left_behind(self) -> tuple[int, float]:
        """Return how many detached tasks only this node can see to, and in how many seconds the last may start."""
        return self._holder.survey.left_behind(self._entrusted.stranded(), time.monotonic())

    def _end_grace(self) -> None:
        self._grace_at = None
        say_that_grace_is_over(self.name, self.settings.grace or 0.0, self._left_behind()[0])
        self._inbox.append(GraceOver(self._entrusted.stranded()))

    def _on_drained(self) -> None:
        self._drained = True
        self._grace_at = None
        if self._leaving:
            self._end()

    def _end(self) -> None:
        self._stopping = True

    def _farewell(self) -> None:
        """Let what is on its way out be sent, for a moment."""
        began_at = time.monotonic()
        self._peering.leave()
        while self._has_more_to_say(time.monotonic() - began_at):
            self._loop.turn(RETRY_S)

    def _has_more_to_say(self, seconds: float) -> bool:
        """Send what waits, the answers to what has come meanwhile too; return whether to go on after so long."""
        waits = self._listening.flush()
        return (waits and seconds < _FAREWELL_S) or (self._peering.peers.is_leaving and seconds < _GOODBYE_S)

    def _close(self) -> None:
        self._pool.close()
        self._helper.close()
        self._listening.close(_FAREWELL_S)  # the socket has taken the last words, and may not have sent them
        self._peering.close()
        self._remembering.close()
        self._loop.close()
        self._context.destroy(linger=int(_FAREWELL_S * 1000))
        self._claim.close()
        log.info("node %s has stopped", self.name, extra={"node": self.name})
