"""The parts of one task's way, each timed alone: microseconds a task. ``parts.py`` runs this in fresh processes.

It is run against other versions of meshq too, so it uses what is likely to be in all of them; a part that cannot
be run there is left out, with the reason. Pure parts are timed by the CPU time of their thread, which others on
the machine do not lengthen.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from processes import cpu_seconds

BATCH = 100
"""How many tasks go together, as they do under load."""
TASKS = 20_000
NODE, CLIENT = b"n" * 16, b"c" * 16
FUNCTION = "operator.neg"
SECONDS = 1e-6

Cpu = Callable[[], float]


@contextlib.contextmanager
def timed(result: list[float], count: int, clock: Cpu = time.thread_time) -> Iterator[None]:
    """Note how many microseconds each of ``count`` tasks took in this block."""
    gc.collect()
    began_at = clock()
    yield
    result.append((clock() - began_at) / count * 1e6)


def ids(count: int) -> list[bytes]:
    """Return so many task ids, as a client makes them."""
    from meshq.ids import new_task_id

    return [bytes(new_task_id()) for _ in range(count)]


def batches(items: list[Any]) -> Iterator[list[Any]]:
    """Cut a list."""
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def arguments() -> bytes:
    """Return the payload of a call with one small argument."""
    from meshq.protocol.codec import serializer

    payload = serializer("msgpack").dumps_call((1,), {})
    assert isinstance(payload, bytes)
    return payload


def make_submits(count: int) -> list[Any]:
    """Return so many SUBMITs."""
    from meshq.protocol.messages import Submit

    payload = arguments()
    return [Submit(task, 1, FUNCTION, "msgpack", payload) for task in ids(count)]


def make_results(tasks: list[bytes]) -> list[Any]:
    """Return the RESULT of each task."""
    from meshq.protocol.messages import Result

    return [Result(task, 1, 0, "msgpack", b"\xff", SECONDS) for task in tasks]


# ---------------------------------------------------------------------- codec


def encode(messages: list[Any]) -> float:
    """Time the way into frames."""
    from meshq.protocol.envelope import Header, Outbox

    outbox, result = Outbox(Header(CLIENT, NODE, 1)), []
    with timed(result, len(messages)):
        for batch in batches(messages):
            if hasattr(outbox, "extend"):
                outbox.extend(batch)
            else:
                for message in batch:
                    outbox.add(message)
            while outbox.take():
                pass
    return result[0]


def decode(messages: list[Any]) -> float:
    """Time the way out of frames."""
    from meshq.protocol.envelope import Header, Outbox
    from meshq.protocol.envelope import decode as read
    from meshq.protocol.parts import Joiner

    outbox, joiner, result = Outbox(Header(CLIENT, NODE, 1)), Joiner(), []
    wire = []
    for batch in batches(messages):
        for message in batch:
            outbox.add(message)
        while frames := outbox.take():
            wire.append([bytes(frame) for frame in frames])
    with timed(result, len(messages)):
        for frames in wire:
            read(frames, joiner)
    return result[0]


def values() -> float:
    """Time the payloads of one call and its result, there and back."""
    from meshq.protocol.codec import serializer

    codec, result = serializer("msgpack"), []
    with timed(result, TASKS):
        for _ in range(TASKS):
            codec.loads_call(codec.dumps_call((1,), {}))
            codec.loads(codec.dumps(-1, "the result"))
    return result[0]


# ---------------------------------------------------------------------- the machines


def owner() -> float:
    """Time the owner: tasks submitted, routed, their results taken, the ends handed out."""
    from meshq.core.accounts import NodeJoined
    from meshq.core.events import Received
    from meshq.core.owned import OwnedTask
    from meshq.core.owner import Owner
    from meshq.core.owning import Submitted
    from meshq.protocol.messages import Credit, Submit

    machine, now, payload, result = Owner(), 1.0, arguments(), []
    machine.handle(NodeJoined(NODE, 1, "node@host", 2, (FUNCTION,), ("msgpack",), ()), now)
    machine.handle(Received(NODE, [Credit(1, 5_000)]), now)
    tasks = [OwnedTask(task, FUNCTION, "msgpack", payload) for task in ids(TASKS + BATCH)]
    results = iter(make_results([task.id for task in tasks]))

    def carry_out(batch: list[Any]) -> None:
        effects = machine.handle(Submitted(batch), now)
        while True:
            sent = [message for effect in effects for message in getattr(effect, "messages", ())]
            count = sum(type(message) is Submit for message in sent)
            if not count:
                break
            effects = machine.handle(Received(NODE, [next(results) for _ in range(count)]), now)

    carry_out(tasks[:BATCH])  # from now on the function's mean is known
    with timed(result, TASKS):
        for batch in batches(tasks[BATCH:]):
            now += 0.001
            carry_out(batch)
    assert next(results, None) is None, "not all tasks were sent"
    return result[0]


def holder() -> float:
    """Time the holder: attempts taken, given to workers, their results reported and acknowledged."""
    from meshq.core.events import Received
    from meshq.core.holder import Holder
    from meshq.core.holding import ClientGreeted, FunctionsKnown, StartRuns
    from meshq.core.work import Done, WorkerDone, WorkerReady
    from meshq.protocol.messages import Rack, Result

    machine, now, result, ended = Holder(2, b"o" * 16), 100.0, [], 0
    machine.handle(FunctionsKnown(frozenset({FUNCTION}), frozenset({"msgpack"})), now)
    for slot in range(2):
        machine.handle(WorkerReady(slot, 1000 + slot, []), now)
    machine.handle(ClientGreeted(CLIENT), now)

    def carry_out(event: Any) -> int:
        ended, events = 0, [event]
        while events:
            for effect in machine.handle(events.pop(), now):
                if type(effect) is StartRuns:
                    dones = [Done(run.run, 0, "msgpack", b"\xff", SECONDS) for run in effect.runs]
                    events.append(WorkerDone(effect.slot, dones))
                    continue
                messages = getattr(effect, "messages", ())
                racks = [Rack(m.task, m.attempt) for m in messages if type(m) is Result]
                if racks:
                    ended += len(racks)
                    events.append(Received(CLIENT, racks))
        return ended

    submits = make_submits(TASKS + BATCH)
    carry_out(Received(CLIENT, submits[:BATCH]))
    with timed(result, TASKS):
        for batch in batches(submits[BATCH:]):
            now += 0.001
            ended += carry_out(Received(CLIENT, batch))
    assert ended == TASKS, f"{ended} of {TASKS} ended"
    return result[0]


def future() -> float:
    """Time a future's life: made with its task, settled, read."""
    from meshq.client.calls import make_future
    from meshq.core.owned import Ending, Outcome
    from meshq.tasks.options import PLAIN

    outcome, result, handler = Outcome(Ending.DONE, "msgpack", b"\xff"), [], None
    with timed(result, TASKS):
        futures = [make_future(handler, FUNCTION, (1,), {}, PLAIN) for _ in range(TASKS)]  # type: ignore[arg-type]
        for each in futures:
            each.settle(outcome)
        for each in futures:
            each.result()
    return result[0]


def submit() -> float:
    """Time ``Mesh.submit`` in the thread that calls it, with no node to send anything to."""
    from meshq import Mesh

    result: list[float] = []
    mesh = Mesh(f"parts-{uuid.uuid4().hex[:12]}")
    try:
        with timed(result, TASKS):
            for _ in range(TASKS):
                mesh.submit(FUNCTION, 1)
    finally:
        mesh.close(cancel=True)
    return result[0]


# ---------------------------------------------------------------------- the loop


def posts() -> float:
    """Time calls that are posted to a loop that is awake."""
    from meshq.transport.loop import Loop

    loop, result, count = Loop(), [], 0

    def call() -> None:
        nonlocal count
        count += 1

    with contextlib.closing(loop), timed(result, TASKS):
        for _ in range(TASKS // BATCH):
            for _ in range(BATCH):
                loop.post(call)
            loop.turn(0)
    assert count == TASKS
    return result[0]


def wake_up() -> float:
    """Time from a post to a loop that sleeps in another thread until the call; wall clock, half a round trip."""
    from meshq.transport.loop import Loop

    here, there, result, trips = Loop(), Loop(), [], 500
    stopping = answered = False

    def serve() -> None:
        while not stopping:
            there.turn(None)

    def answer() -> None:
        nonlocal answered
        answered = True

    thread = threading.Thread(target=serve)
    thread.start()
    with timed(result, 2 * trips, time.perf_counter):
        for _ in range(trips):
            answered = False
            there.post(here.post, answer)
            while not answered:
                here.turn(None)
    stopping = True
    there.post(str)
    thread.join()
    here.close()
    there.close()
    return result[0]


# ---------------------------------------------------------------------- the worker


def worker(of_node: bool) -> float:
    """Time runs that go to a real worker and back, in batches: its own CPU, or that of the node's end."""
    from meshq.core.work import Run, WorkerDone, WorkerReady
    from meshq.transport.loop import Loop
    from meshq.workers.pool import Pool, WorkerSpec

    events: list[Any] = []
    loop, ended, result, payload = Loop(), 0, [], arguments()
    spec = WorkerSpec(allow=(FUNCTION.replace(".", ":"),), env={"PYTHONPATH": os.environ.get("PYTHONPATH", "")})
    pool = Pool(loop, spec, events.append, lambda *_: None, lambda slot, text: events.append(text))
    waiting = batches([Run(n + 1, id, 1, FUNCTION, "msgpack", payload) for n, id in enumerate(ids(TASKS))])
    try:
        pool.start(0)
        while not events:
            loop.turn(1.0)
        (ready,) = events
        assert isinstance(ready, WorkerReady), ready
        events.clear()
        clock = time.thread_time if of_node else lambda: cpu_seconds(ready.pid)
        with timed(result, TASKS, clock):
            pool.run(0, next(waiting))
            sent = BATCH
            while ended < TASKS:
                if sent - ended <= BATCH and sent < TASKS:
                    pool.run(0, next(waiting))
                    sent += BATCH
                loop.turn(1.0)
                ended += sum(len(event.dones) for event in events if isinstance(event, WorkerDone))
                events.clear()
    finally:
        pool.close()
        loop.close()
    return result[0]


PARTS: dict[str, Callable[[], float]] = {
    "codec: encode SUBMITs": lambda: encode(make_submits(TASKS)),
    "codec: decode SUBMITs": lambda: decode(make_submits(TASKS)),
    "codec: encode RESULTs": lambda: encode(make_results(ids(TASKS))),
    "codec: decode RESULTs": lambda: decode(make_results(ids(TASKS))),
    "codec: call and result, there and back": values,
    "client: a future's life": future,
    "client: Mesh.submit, the caller's thread": submit,
    "client: owner": owner,
    "node: holder": holder,
    "node: its end of the worker link": lambda: worker(True),
    "worker: its loop": lambda: worker(False),
    "loop: a posted call": posts,
    "loop: wake-up of another thread": wake_up,
}


def main() -> None:
    """Time the parts that are named, or all; print ``{part: microseconds, or why there are none}``."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ.update(XDG_CONFIG_HOME=directory, XDG_STATE_HOME=directory, MESHQ_MDNS="no")
        found: dict[str, float | str] = {}
        for name in sys.argv[1:] or PARTS:
            try:
                found[name] = PARTS[name]()
            except Exception as error:  # another version may lack anything
                found[name] = f"{type(error).__name__}: {error}"
        print(json.dumps(found))


if __name__ == "__main__":
    main()
