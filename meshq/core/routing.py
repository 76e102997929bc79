"""Which waiting task goes to which node, and when.

Rules. A task goes only to a node that offers its function, with its serializer and tags. Work goes to the
node that will get to it soonest: the one with the fewest unfinished attempts per slot. A node gets no more
than its credit allows, and no more of a function than keeps its slots busy for some 10 ms. Where functions
compete for credit, the one that got nothing is served before those that got some. Detached tasks are entrusted
beyond credit: the node that takes one owns it from then on.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

from meshq.core.accounts import NodeAccount, WaitingQueue
from meshq.core.owned import OwnedTask
from meshq.core.pace import Means

_Key = tuple[str, str, frozenset[str], bool]


class Router:
    """The owner's waiting tasks, and the choice of nodes for them."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._queues: dict[_Key, WaitingQueue] = {}
        self._ring: deque[WaitingQueue] = deque()
        """The queues that hold tasks, in the order in which they are served."""

    @property
    def is_empty(self) -> bool:
        """Whether no task waits."""
        return not self._ring

    def wait(self, task: OwnedTask, now: float) -> None:
        """Queue a task behind the others."""
        self._queue_of(task, now).tasks.append(task)

    def wait_first(self, tasks: list[OwnedTask], now: float) -> None:
        """Queue tasks that had been sent already before all others, in their order."""
        for task in reversed(tasks):
            self._queue_of(task, now).tasks.appendleft(task)

    def waiting(self) -> Iterator[WaitingQueue]:
        """Yield the queues that hold tasks."""
        return iter(list(self._ring))

    def assign(self, nodes: Iterable[NodeAccount], now: float) -> Iterator[tuple[NodeAccount, OwnedTask]]:
        """Yield each task that can go now with its node; the caller books and sends it."""
        usable = [node for node in nodes if node.usable and node.full_until <= now]
        served: list[WaitingQueue] = []
        for _ in range(len(self._ring)):
            queue = self._ring.popleft()
            waiting = len(queue.tasks)
            candidates = [node for node in usable if node.can_run(queue)]
            if candidates:
                queue.hoped_at = now
                yield from self._serve(queue, candidates)
            if queue.head() is None:
                del self._queues[queue.function, queue.serializer, queue.tags, queue.detached]
            elif len(queue.tasks) < waiting:
                served.append(queue)
            else:
                self._ring.append(queue)
        self._ring.extend(served)

    def _serve(
        self, queue: WaitingQueue, candidates: list[NodeAccount]
    ) -> Iterator[tuple[NodeAccount, OwnedTask]]:
        mean = self._means.get(queue.function)
        if len(candidates) == 1:
            yield from self._serve_one(queue, candidates[0], mean)
            return
        # The heap's order is the order of "who gets to it soonest"; the index breaks ties.
        heap = [(node.load(), index) for index, node in enumerate(candidates)]
        heapq.heapify(heap)
        while heap and (task := queue.head()) is not None:
            load, index = heap[0]
            node = candidates[index]
            if queue.detached or node.room(queue.function, mean) > 0:
                queue.tasks.popleft()
                yield node, task
                heapq.heapreplace(heap, (load + 1.0 / node.slots, index))
            else:
                heapq.heappop(heap)

    @staticmethod
    def _serve_one(
        queue: WaitingQueue, node: NodeAccount, mean: float | None
    ) -> Iterator[tuple[NodeAccount, OwnedTask]]:
        room = node.room(queue.function, mean)
        while (queue.detached or room > 0) and (task := queue.head()) is not None:
            queue.tasks.popleft()
            room -= 1
            yield node, task

    def _queue_of(self, task: OwnedTask, now: float) -> WaitingQueue:
        key = (task.function, task.serializer, task.tags, task.detached)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = WaitingQueue(*key, now)
            self._ring.append(queue)
        return queue
