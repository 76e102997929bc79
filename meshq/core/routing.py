"""Which waiting task goes to which node, and when.

Rules. A task goes only to a node that offers its function, with its serializer and tags. Work goes to the
node that will get to it soonest: the one with the fewest unfinished attempts per slot. A node's own owner
prefers that node, and sends its peers only what would find their slots idle. A node gets no more than its credit
allows, and no more of a function than keeps its slots busy for some 10 ms. Where functions compete for credit,
the one that got nothing is served before those that got some. Detached tasks are entrusted beyond credit: the node
that takes one owns it from then on. Delayed tasks go beyond credit too, for the nodes to park; either kind as many
at a time as a node answers, and one at a time to a node that had no room. Of tasks with different priorities the
highest go first; all the rest holds among those of one priority.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

from meshq.core.accounts import Kind, NodeAccount, WaitingQueue
from meshq.core.owned import OwnedTask
from meshq.core.pace import Means
from meshq.core.schedule import is_delayed

HOP_S = 0.0002
"""Runs that take less are not worth a hop: to send one, and its result back, costs both nodes about as much."""
BLOCKED_S = 0.05
"""A node that has ended nothing for so long may well be held up by long runs; then they are."""

Give = Callable[[NodeAccount, list[OwnedTask], float], None]
"""Takes a node, the tasks that go there, and the time: it books and sends them."""


class Router:
    """The owner's waiting tasks, and the choice of nodes for them."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.queues: dict[Kind, WaitingQueue] = {}
        """Tasks that may start."""
        self._rings: dict[int, deque[WaitingQueue]] = {}
        """The queues that hold tasks in the order in which they are served, by priority, the highest first."""
        self._emptied: WaitingQueue | None = None
        """The queue that was emptied last, for the next task of its kind: each single one would make it anew."""
        self.delayed: dict[Kind, WaitingQueue] = {}
        """Tasks that may not start yet: they take no credit, and so compete with nobody."""

    @property
    def is_empty(self) -> bool:
        """Whether no task waits."""
        return not (self.queues or self.delayed)

    def wait(self, task: OwnedTask, now: float) -> None:
        """Queue a task behind the others."""
        self._queue_of(task, now).tasks.append(task)

    def wait_all(self, tasks: Iterable[OwnedTask], now: float) -> None:
        """Queue tasks behind the others. Most are like the one before them, so that their queue is at hand."""
        queue: WaitingQueue | None = None
        for task in tasks:
            if task.due_at is not None:
                self.wait(task, now)
                continue
            if (
                queue is None
                or task.function != queue.function
                or task.serializer != queue.serializer
                or task.tags is not queue.tags
                or task.detached is not queue.detached
                or task.priority != queue.priority
            ):
                queue = self._queue_of(task, now)
            queue.tasks.append(task)

    def wait_first(self, tasks: list[OwnedTask], now: float) -> None:
        """Queue tasks that had been sent already before all others, in their order."""
        for task in reversed(tasks):
            self._queue_of(task, now).tasks.appendleft(task)

    def take_out(self, tasks: Collection[bytes]) -> list[OwnedTask]:
        """Take those of the tasks that wait here out, and return them."""
        taken: list[OwnedTask] = []
        for queue in self.waiting():
            passed: list[OwnedTask] = []
            while queue.tasks and len(taken) < len(tasks):  # those behind need no look
                task = queue.tasks.popleft()
                if task.node is None:
                    (taken if task.id in tasks else passed).append(task)
            queue.tasks.extendleft(reversed(passed))
        return taken

    def waiting(self) -> Iterator[WaitingQueue]:
        """Yield the queues that hold tasks."""
        return iter([*itertools.chain.from_iterable(self._rings.values()), *self.delayed.values()])

    def by_priority(self) -> Iterator[WaitingQueue]:
        """Yield the queues that hold tasks that may start, the highest priority first."""
        return itertools.chain.from_iterable(self._rings.values())

    def assign(self, nodes: Iterable[NodeAccount], now: float, give: Give) -> None:
        """Give the tasks that can go now, each run of them with its node, to who books and sends them.

        A run is one task, or several of one function that take credit, all with small arguments.
        """
        usable: list[NodeAccount] = []
        for node in nodes:  # a comprehension would be a call more for each task
            if node.full_until <= now and node.usable:
                usable.append(node)
        if self.delayed:
            self._assign_delayed(usable, now, give)
        for ring in self._rings.values():
            served: list[WaitingQueue] = []
            for _ in range(len(ring)):
                queue = ring.popleft()
                waiting = len(queue.tasks)
                candidates: list[NodeAccount] = []
                for node in usable:
                    if not node.can_run(queue) or (queue.detached and node.detached_until > now):
                        continue
                    if not (node.paused_until and node.is_paused(queue.function, now)):
                        candidates.append(node)
                if candidates:
                    queue.hoped_at = now
                    if len(candidates) == 1:
                        self._serve_one(queue, candidates[0], now, give)
                    else:
                        self._serve(queue, candidates, now, give)
                if not queue.tasks or queue.head() is None:
                    del self.queues[queue.key]
                    self._emptied = queue
                elif len(queue.tasks) < waiting:
                    served.append(queue)
                else:
                    ring.append(queue)
            ring.extend(served)

    def _serve(self, queue: WaitingQueue, candidates: list[NodeAccount], now: float, give: Give) -> None:
        mean = self._means.get(queue.function)
        if mean is not None and mean < HOP_S:
            candidates = _at_home(candidates, now)
            if len(candidates) == 1:
                self._serve_one(queue, candidates[0], now, give)
                return
        # The heap's order is the order of "who gets to it soonest"; the index breaks ties.
        heap = [(node.load(), index) for index, node in enumerate(candidates)]
        heapq.heapify(heap)
        while heap and (task := queue.head()) is not None:
            load, index = heap[0]
            node = candidates[index]
            if (
                node.may_ask(task)
                if queue.detached
                else node.room(queue.function, mean) > 0 and node.has_room_for(task)
            ):
                give(node, [queue.tasks.popleft()], now)
                heapq.heapreplace(heap, (node.load() if node.is_home else load + 1.0 / node.slots, index))
            else:
                heapq.heappop(heap)

    def _serve_one(self, queue: WaitingQueue, node: NodeAccount, now: float, give: Give) -> None:
        if queue.detached:
            while (task := queue.head()) is not None and node.may_ask(task):
                give(node, [queue.tasks.popleft()], now)
            return
        room = node.room(queue.function, self._means.get(queue.function))
        while room > 0 and queue.tasks:
            run = queue.take_small(room)
            if run:
                room -= len(run)
                give(node, run, now)
            elif (task := queue.head()) is not None and node.has_room_for(task):
                room -= 1
                give(node, [queue.tasks.popleft()], now)
            else:
                return

    def _assign_delayed(self, nodes: list[NodeAccount], now: float, give: Give) -> None:
        """Give the delayed tasks that can go; those whose time has come meanwhile wait with the others."""
        for key, queue in list(self.delayed.items()):
            candidates = [node for node in nodes if node.delayed_until <= now and node.can_run(queue)]
            # They wait as well here as anywhere.
            candidates = [node for node in candidates if node.is_home] or candidates
            heap = [(node.load(), index) for index, node in enumerate(candidates)]
            heapq.heapify(heap)
            while (task := queue.head()) is not None:
                if not is_delayed(task, now):
                    self.wait(queue.tasks.popleft(), now)
                elif not heap:
                    break
                elif not (node := candidates[heap[0][1]]).may_ask(task):
                    heapq.heappop(heap)
                else:
                    queue.tasks.popleft()
                    task.parked = True
                    give(node, [task], now)
                    heapq.heapreplace(heap, (heap[0][0] + 1.0 / node.slots, heap[0][1]))
            if queue.head() is None:
                del self.delayed[key]

    def _queue_of(self, task: OwnedTask, now: float) -> WaitingQueue:
        if task.due_at is not None and is_delayed(task, now) and not task.detached:
            return self.delayed.setdefault(_key(task), WaitingQueue(_key(task), now))
        key = (task.function, task.serializer, task.tags, task.detached, task.priority)
        queue = self.queues.get(key)
        if queue is None:
            queue = self.queues[key] = self._take_emptied(key, now) or WaitingQueue(key, now)
            if task.priority not in self._rings:
                self._rings[task.priority] = deque()
                self._rings = dict(sorted(self._rings.items(), reverse=True))
            self._rings[task.priority].append(queue)
        return queue

    def _take_emptied(self, key: Kind, now: float) -> WaitingQueue | None:
        queue = self._emptied
        if queue is None or queue.key != key:
            return None
        self._emptied = None
        queue.hoped_at = now
        return queue


def _at_home(candidates: list[NodeAccount], now: float) -> list[NodeAccount]:
    """Return the node alone whose own owner this is, if it is one of these and gets on."""
    return [node for node in candidates if node.is_home and now < node.ended_at + BLOCKED_S] or candidates


def _key(task: OwnedTask) -> Kind:
    return task.function, task.serializer, task.tags, task.detached, task.priority
