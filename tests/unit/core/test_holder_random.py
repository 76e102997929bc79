"""The holder among clients, workers and a foe, whatever they do: its books are checked at each step."""

from __future__ import annotations

from random import Random

from holder_conversation import OWN, A, B, Conversation, done, gone, recalled, task
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from machine_settings import machine_settings

from meshq.core.events import Received, Send
from meshq.core.held import HeldState
from meshq.core.holding import (
    ClientGreeted,
    ClientUnreachable,
    Disown,
    DrainAsked,
    Drained,
    Entrust,
    EntrustedDone,
    EntrustedHandedOver,
    EntrustedWithdrawn,
    GraceOver,
    HandOver,
    HolderEffect,
    HolderEvent,
    KillWorker,
    PurgeAnswered,
    PurgeAsked,
    RateLimitSet,
    RecallRuns,
    ResizeAsked,
    RevokeAnswered,
    RevokeAsked,
    SignalWorker,
    StartRuns,
)
from meshq.core.work import WorkerReady
from meshq.protocol.messages import (
    Accepted,
    Bye,
    Credit,
    Draining,
    Holding,
    Message,
    Nack,
    Parked,
    Ping,
    Pong,
    Rack,
    Relay,
    Result,
    Started,
    Status,
    Submit,
    Withdraw,
    Withdrawn,
)
from meshq.protocol.payload import payload_size
from meshq.testing.audit import budget_faults

FOE = b"foe" + b"!" * 13
SLOTS = 3
_MOST_SLOTS = 5
HOLD_BYTES = 200_000
PAYLOADS = (b"x", b"x", b"x", bytes(3_000), [bytes(2_000), b"y"])
"""Of arguments and results: what is small, and what counts."""
SECONDS = {"f": 0.0002, "g": 0.0009, "h": 0.05}


class Client:
    """A well-behaved client: what it has open, and what it knows of that, as an owner would."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.connected = True
        self.open: dict[bytes, Submit] = {}
        self.accepted: set[bytes] = set()
        self.withdrawing: set[bytes] = set()
        self.dropped: dict[bytes, int] = {}
        self.out: list[Message] = []

    def send(self, submit: Submit) -> None:
        """Send an attempt, new or again."""
        if submit != self.open.get(submit.task):
            self.accepted.discard(submit.task)
        self.open[submit.task] = submit
        self.out.append(submit)

    def try_again(self, task_id: bytes) -> None:
        """Send the next attempt of a task."""
        submit = self.open[task_id]
        self.withdrawing.discard(task_id)
        self.send(submit._replace(attempt=submit.attempt + 1))

    def withdraw(self, task_id: bytes) -> None:
        """Want a task back."""
        self.withdrawing.add(task_id)
        self.out.append(Withdraw(task_id, self.open[task_id].attempt))

    def close(self, task_id: bytes) -> None:
        """Have done with a task."""
        del self.open[task_id]
        self.withdrawing.discard(task_id)

    def lose(self, task_id: bytes) -> None:
        """Have nothing more to do with a task, if it is open: another node has it, and this one ends."""
        self.open.pop(task_id, None)
        self.withdrawing.discard(task_id)

    def resend(self) -> None:
        """Say again what was not answered."""
        for task_id, submit in list(self.open.items()):
            if task_id in self.withdrawing:
                self.withdraw(task_id)
            elif task_id not in self.accepted:
                self.send(submit)

    def hear(self, message: Message) -> None:
        """Take what the node says."""
        assert self.connected, "nothing may be sent to a client out of reach"
        if isinstance(message, Result):
            self.out.append(Rack(message.task, message.attempt))
            assert message.attempt > self.dropped.get(message.task, 0), "a result of what was dropped"
        if isinstance(message, Nack) and message.reason == "draining":
            self.out.append(Rack(message.task, message.attempt))
        if not isinstance(message, Accepted | Parked | Started | Result | Nack | Withdrawn):
            assert isinstance(message, Credit | Pong | Draining | Relay)
            return
        submit = self.open.get(message.task)
        if submit is not None and (message.attempt == submit.attempt or isinstance(message, Result)):
            assert message.attempt <= submit.attempt
            self._hear_of(submit, message)

    def _hear_of(self, submit: Submit, message: Accepted | Parked | Started | Result | Nack | Withdrawn) -> None:
        task_id = submit.task
        match message:
            case Accepted() | Parked() | Started():
                self.accepted.add(task_id)
            case Result(status=Status.WORKER_LOST | Status.RETRY):
                if message.attempt == submit.attempt:
                    self.try_again(task_id)
            case Result():
                self.close(task_id)
            case Nack(reason="draining"):
                self.close(task_id)
            case Nack():
                self.close(task_id) if task_id in self.withdrawing else self.try_again(task_id)
            case Withdrawn(outcome="dropped" | "unknown"):
                self.dropped[task_id] = submit.attempt
                # A WITHDRAW that came late may have undone what another was answered with.
                self.close(task_id) if task_id in self.withdrawing else self.try_again(task_id)
            case Withdrawn():
                self.withdrawing.discard(task_id)
                self.out = [said for said in self.out if said != Withdraw(task_id, submit.attempt)]


class Worker:
    """One slot's worker: it starts its runs in order, and gives back only what it has not started."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.ready = True
        self.started = 0
        self.runs: dict[int, str] = {}
        self.recalls: list[list[int]] = []
        self.signalled = False

    def begin(self) -> None:
        """Start the first run, if it is not started."""
        if self.runs:
            self.started = max(self.started, next(iter(self.runs)))


class World:
    """A holder among clients, workers, its own owner and a foe, all driven by one random source."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clients = {name: Client(name) for name in (A, B)}
        self.workers = [Worker(slot) for slot in range(SLOTS)]
        self.entrusted: set[tuple[bytes, bytes]] = set()
        self.disowned: list[tuple[bytes, bytes]] = []
        self.for_peers: list[bytes] = []
        self.asked, self.answered, self.drained = 0, 0, 0
        self.next_task = 0
        self.talk = Conversation(SLOTS, (A, B, OWN, FOE), hold_bytes=HOLD_BYTES if seed % 3 else 0)

    # ------------------------------------------------------------------ effects

    def do(self, event: HolderEvent) -> None:
        """Let the holder take an event, and everybody what comes of it."""
        self.apply(self.talk.do(event))

    def apply(self, effects: list[HolderEffect]) -> None:
        """Let everybody take these effects."""
        for effect in effects:
            match effect:
                case Send(peer, messages):
                    for message in messages if peer in self.clients else ():
                        self.clients[peer].hear(message)
                case StartRuns(slot, runs):
                    worker = self.workers[slot]
                    assert worker.ready, "a run for a worker that is not there"
                    assert not worker.runs or max(worker.runs) < runs[0].run
                    worker.runs.update((run.run, run.function) for run in runs)
                case RecallRuns(slot, runs):
                    self.workers[slot].recalls.append(runs)
                case SignalWorker(slot, _) | KillWorker(slot):
                    self.workers[slot].signalled = True
                case Entrust(client, task_id):
                    assert (client, task_id) not in self.entrusted
                    self.entrusted.add((client, task_id))
                case Disown(client, task_id):
                    self.disowned.append((client, task_id))
                case HandOver(tasks):
                    self.for_peers += tasks
                case RevokeAnswered() | PurgeAnswered():
                    self.answered += 1
                case Drained():
                    self.drained += 1
        self.check()

    def check(self) -> None:
        """Compare the holder's books with each other."""
        holder = self.talk.holder
        dispatch = holder._dispatch
        running = {run: held for slot in dispatch.slots for run, held in slot.runs.items()}
        assert dispatch.running() == len(running)
        assert len(set(map(id, running.values()))) == len(running), "an attempt in two slots"
        for slot in dispatch.slots:
            dies = self.workers[slot.number].signalled
            assert slot.ready or dies or not slot.runs, "runs on a slot without a worker"
            assert set(slot.runs) == set(self.workers[slot.number].runs)
            assert all(held.slot == slot.number and held.run == run for run, held in slot.runs.items())
        accounts = holder._accounts.values()
        turns = {id(client) for client in accounts if client.queue and not client.stalled}
        assert set(map(id, dispatch._ring)) == turns
        assert len(dispatch._ring) == len(set(map(id, dispatch._ring)))
        for client in accounts:
            states = [held.state for held in client.held.values()]
            assert states.count(HeldState.QUEUED) == client.queued_count() == len(set(client.queued()))
            assert states.count(HeldState.PARKED) == client.parked
            assert states.count(HeldState.DONE) == len(client.unacknowledged)
            assert states.count(HeldState.ENTRUSTED) == client.entrusted
            assert all(client.held[held.task] is held for held in client.queued())
            assert [held.priority for held in client.queued()] == sorted(
                (held.priority for held in client.queued()), reverse=True
            )
        assert sum(held.state is HeldState.RUNNING for c in accounts for held in c.held.values()) == len(running)

        assert list(budget_faults(holder)) == []
        self.check_parking()

    def check_parking(self) -> None:
        """Compare what is parked, and who has a token, with what is held."""
        holder = self.talk.holder
        helds = [held for client in holder._accounts.values() for held in client.held.values()]
        parked = [held for held in helds if held.state is HeldState.PARKED]
        assert {view.held for view in holder._parking.parked(self.talk.now)} == set(parked)
        assert holder._parking.count == len(parked)
        assert holder._parking.bytes == sum(payload_size(held.payload) for held in parked)
        buckets = list(holder._parking._rates.buckets())
        queued = [held for bucket in buckets for held in bucket._queued]
        assert all(held.state is HeldState.QUEUED for held in queued)
        assert all(len(bucket._queued) <= max(1.0, bucket.rate * 0.02) for bucket in buckets)
        for held, _ in holder._dispatch.alarms.items():
            assert held.client.held[held.task] is held
            assert held.state in (HeldState.QUEUED, HeldState.PARKED)

    # ------------------------------------------------------------------ steps

    def submit(self) -> None:
        """A client submits a few tasks."""
        client = self.random.choice(list(self.clients.values()))
        for _ in range(self.random.choice((1, 2, 20))):
            self.next_task += 1
            function = self.random.choice("ffggh")
            detached = self.random.random() < 0.1
            options = self.random.choice((None, None, None, self.options()))
            payload = self.random.choice(PAYLOADS)
            client.send(Submit(task(self.next_task), 1, function, "msgpack", payload, detached, options))

    def options(self) -> dict[str, object]:
        """Return options of a call."""
        choice = self.random.choice
        options = {
            "countdown": choice((0.0, 0.003, 0.5, 8.0)),
            "expires": choice((0.002, 0.1, 5.0, 900.0)),
            "priority": choice((0, 3, 5, 9)),
            "rate_limit": choice((0, 20, "200/s", 1000)),
        }
        return {key: value for key, value in options.items() if self.random.random() < 0.3}

    def set_rate(self) -> None:
        """Somebody changes a rate limit."""
        self.do(RateLimitSet(self.random.choice("fgh"), self.random.choice((0.0, 0.5, 30.0, 200.0, 5000.0))))

    def deliver(self) -> None:
        """What a client has to say arrives, or is lost."""
        for client in self.clients.values():
            out, client.out = client.out, []
            if client.connected:
                self.do(Received(client.name, [*out, Ping(1)]))

    def meddle(self) -> None:
        """A client sends a copy of a task, a later attempt, or an older message."""
        client = self.random.choice(list(self.clients.values()))
        if client.open:
            submit = client.open[self.random.choice(list(client.open))]
            later = submit._replace(attempt=submit.attempt + self.random.randrange(3))
            if later.task not in client.withdrawing:
                client.send(later)
            client.out.append(Withdraw(submit.task, submit.attempt - 1))

    def want_back(self) -> None:
        """A client withdraws a task."""
        client = self.random.choice(list(self.clients.values()))
        if client.open:
            client.withdraw(self.random.choice(list(client.open)))

    def work(self) -> None:
        """A worker is ready, or finishes some of its runs and begins the next."""
        worker = self.random.choice(self.workers)
        if not worker.ready:
            worker.ready = True
            self.do(WorkerReady(worker.slot, 1, []))
        elif worker.runs:
            runs = list(worker.runs)[: self.random.choice((1, 1, 3, 100))]
            seconds = SECONDS[worker.runs[runs[-1]]]
            for run in runs:
                del worker.runs[run]
            worker.started = max(worker.started, runs[-1])
            worker.begin()
            status = self.random.choice((Status.OK,) * 5 + (Status.FAILURE, Status.RETRY))
            payload = self.random.choice(PAYLOADS)
            self.do(done(*runs, slot=worker.slot, seconds=seconds, status=status, payload=payload))

    def answer_recall(self) -> None:
        """A worker answers a recall."""
        worker = self.random.choice(self.workers)
        if worker.recalls:
            asked = worker.recalls.pop(0)
            worker.begin() if self.random.random() < 0.8 else None
            back = [run for run in asked if run in worker.runs and run > worker.started]
            for run in back:
                del worker.runs[run]
            self.do(recalled(asked, back, worker.slot))

    def die(self) -> None:
        """A worker ends: killed by a signal or its task, or as planned."""
        worker = self.random.choice([w for w in self.workers if w.signalled] or self.workers)
        if worker.ready:
            worker.begin() if self.random.random() < 0.8 else None
            worker.ready = worker.signalled = False
            worker.runs.clear()
            worker.recalls.clear()
            self.do(gone(worker.started, worker.slot, retired=self.random.random() < 0.2))

    def end_killed(self) -> None:
        """The workers that were killed, or sent a signal, are gone."""
        if any(worker.ready and worker.signalled for worker in self.workers):
            self.die()

    def own_owner(self) -> None:
        """Our own owner lets go of a task that was disowned, or could not, or has the result of one."""
        if self.disowned:
            client, task_id = key = self.disowned.pop(0)
            withdrawn = key in self.entrusted and self.random.random() < 0.5
            self.entrusted -= {key} if withdrawn else set()
            self.do(EntrustedWithdrawn(client, task_id, withdrawn))
        elif self.for_peers and self.random.random() < 0.7:
            task_id = self.for_peers.pop()
            for key in sorted(key for key in self.entrusted if key[1] == task_id):
                self.entrusted.discard(key)
                self.do(EntrustedHandedOver(*key))
                if key[0] in self.clients:
                    self.clients[key[0]].lose(task_id)
        elif self.entrusted:
            client, task_id = key = self.random.choice(sorted(self.entrusted))
            self.entrusted.discard(key)
            self.do(EntrustedDone(client, task_id, Status.OK, "msgpack", b"value"))

    def reconnect(self) -> None:
        """A client's connection goes, or comes back."""
        client = self.random.choice(list(self.clients.values()))
        client.connected = not client.connected
        if client.connected:
            self.do(ClientGreeted(client.name))
        else:
            client.out.clear()
            self.do(ClientUnreachable(client.name))

    def revoke(self) -> None:
        """Somebody revokes a few tasks."""
        tasks = [task(self.random.randint(1, self.next_task + 1)) for _ in range(self.random.randint(1, 3))]
        self.asked += 1
        self.do(RevokeAsked(self.asked, tasks, self.random.choice((0, 0, 9, 15))))

    def ask_after(self) -> None:
        """A client asks whether what it counts on is there still, and something else with it."""
        for client in self.clients.values():
            pairs = [[task_id, submit.attempt] for task_id, submit in client.open.items()]
            client.out.append(Holding([*pairs[:20], [task(0), 1]]))

    def purge(self) -> None:
        """Somebody discards what waits; nobody answers for the clients."""
        self.asked += 1
        self.do(PurgeAsked(self.asked, self.asked.to_bytes(16, "big"), self.random.choice((0.0, 1.0))))

    def resize(self) -> None:
        """Slots come; none goes, for which the workers of this world have no word."""
        if len(self.workers) < _MOST_SLOTS:
            self.workers.append(Worker(len(self.workers)))
            self.workers[-1].ready = False
            self.do(ResizeAsked(len(self.workers)))

    def pass_time(self) -> None:
        """Time passes; clients say again what was not answered."""
        self.apply(self.talk.pass_time(self.random.choice((0.001, 0.004, 0.012, 0.6, 1.1, 7.0))))
        if self.random.random() < 0.01:
            self.apply(self.talk.pass_time(920.0))
        for client in self.clients.values():
            client.resend()

    def foe(self) -> None:
        """The foe says what it likes, of tasks of its own and of others."""
        what, attempt = task(self.random.randint(1, 30)), self.random.choice((-1, 0, 1, 2, 2**63))
        function = self.random.choice(("f", "g", "no such function"))
        submit = Submit(
            what, attempt, function, self.random.choice(("msgpack", "?")), b"", self.random.random() < 0.3
        )
        messages: list[Message] = [
            submit, submit, Rack(what, attempt), Withdraw(what, attempt), Ping(attempt), Bye(),
            Result(what, attempt, 99, "", b""), Accepted(what, attempt), Credit(attempt, attempt),
        ]  # fmt: skip
        self.do(Received(FOE, self.random.choices(messages, k=self.random.randint(0, 5))))
        if self.random.random() < 0.2:
            self.do(self.random.choice((ClientGreeted(FOE), ClientUnreachable(FOE))))
        self.do(EntrustedDone(FOE, task(0), 0, "", b""))

    # ------------------------------------------------------------------ the quiet phase

    def settle(self) -> None:
        """Let everything come to its end: all are within reach, and no more is submitted."""
        for client in self.clients.values():
            if not client.connected:
                client.connected = True
                self.do(ClientGreeted(client.name))
        self.do(ClientGreeted(FOE))
        self.do(Received(FOE, [Bye()]))
        for function in "fgh":
            self.do(RateLimitSet(function, 0.0))
        for _ in range(60):
            self.apply(self.talk.pass_time(1.1))
            for _ in range(40):
                self.end_killed()
                self.work()
                self.answer_recall()
                self.own_owner()
            for client in self.clients.values():
                client.resend()
            self.ask_after()  # an answer may have been lost with a connection
            self.deliver()
        self.do(Received(FOE, [Rack(what, attempt) for what, attempt in self._of_foe()]))
        self.apply(self.talk.pass_time(6.0))

    def _of_foe(self) -> list[tuple[bytes, int]]:
        account = self.talk.holder._accounts.get(FOE)
        return [(held.task, held.attempt) for held in account.held.values()] if account is not None else []


_STEPS = (
    ["deliver", "work"] * 8 + ["submit"] * 6 + ["pass_time"] * 4 + ["answer_recall"] * 3 + ["foe"] * 2
    + ["meddle", "want_back", "own_owner", "reconnect", "die", "revoke", "set_rate", "ask_after", "purge"]
    + ["resize"]
)  # fmt: skip
"""What may happen, as often as it is named here."""


class RandomHolder(RuleBasedStateMachine):
    """Lets things happen to a holder, several at a time; what chance decides in them follows from ``seed``."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(0)
        self.turn, self.drains_at, self.grace = 0, -1, False

    @initialize(drains_at=st.integers(-1, 30), grace=st.booleans())
    def begin(self, drains_at: int, grace: bool) -> None:
        """Let it drain in the midst of things, or never; and maybe have no more patience a while later."""
        self.drains_at, self.grace = drains_at, grace

    @rule(steps=st.lists(st.sampled_from(_STEPS), min_size=1, max_size=8), seed=st.integers(0, 1000))
    def go_on(self, steps: list[str], seed: int) -> None:
        self.turn += 1
        self.world.random = Random(seed)
        for step in steps:
            getattr(self.world, step)()
        if self.turn == self.drains_at:
            self.world.do(DrainAsked())
        elif self.grace and 0 < self.drains_at == self.turn - 10:
            self.world.do(GraceOver(frozenset()))

    def teardown(self) -> None:
        """Nothing has raised; now every task of a client comes to an end, and nothing is left in the books."""
        world = self.world
        world.settle()
        assert {client.name: client.open for client in world.clients.values()} == {A: {}, B: {}}
        assert world.answered == world.asked
        assert world.drained == (0 < self.drains_at <= self.turn)
        _check_empty(world)


def _check_empty(world: World) -> None:
    holder = world.talk.holder
    assert holder.counts() == {"queued": 0, "parked": 0, "running": 0, "finished": 0, "clients": 2}
    for client in holder._accounts.values():
        assert (client.held, client.lapsed, list(client.queue), client.entrusted) == ({}, [], [], 0)
        assert (client.parked, client.lower) == (0, {})
    assert holder._entrusting.bytes == 0
    assert len(holder._dispatch.alarms) == 0
    assert not any(timers.live for timers in holder._parking.timers)
    assert all((slot.load_s, slot.runs) == (0.0, {}) for slot in holder._dispatch.slots)
    assert (holder._recalls._revokes, holder._reports.out) == ([], {})
    assert not any(holder._reports._lines)


TestRandomHolder = RandomHolder.TestCase
TestRandomHolder.settings = machine_settings(60)
