"""Nodes that come and go, and what becomes of the attempts there: sent elsewhere, or charged with a death."""

from __future__ import annotations

from collections.abc import Callable

from meshq.core.accounts import NodeAccount, NodeJoined
from meshq.core.events import Send
from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.core.owning import NodeLost, NodeReturned, NodeSuspected, OwnerEffect
from meshq.core.patience import Patience
from meshq.core.routing import Router
from meshq.core.schedule import has_expired
from meshq.protocol.chunks import SPLIT
from meshq.protocol.messages import LONGEST_TEXT, Dead, Message, Withdraw

MAX_DEATHS = 3
"""Workers that a task may kill (as dask's ``allowed-failures``; RabbitMQ allows 20 deliveries)."""
_ELSEWHERE = "an attempt at an earlier node: its worker died, or the node did"
# A node that was lost is kept this long, so that attempts re-sent elsewhere are withdrawn when it comes back.
_FORGET_S = 900.0


class Losses:
    """Keeps ``nodes``, and takes tasks back from them; ``effects`` is where the owner gathers what it asks for."""

    def __init__(
        self,
        nodes: dict[bytes, NodeAccount],
        router: Router,
        patience: Patience,
        settle: Callable[[OwnedTask, Outcome], None],
        effects: list[OwnerEffect],
    ) -> None:
        self._nodes = nodes
        self._router = router
        self._patience = patience
        self._settle = settle
        self._effects = effects
        self.on_taken_back: Callable[[OwnedTask, float], None] | None = None
        """Called with each task that is to be sent out anew, while it is in no node's account."""

    def on_joined(self, event: NodeJoined, now: float) -> None:
        """Take a node in, or what it says anew; one that was restarted has lost everything."""
        node = self._nodes.get(event.node)
        if node is None:
            self._nodes[event.node] = NodeAccount(event)
            return
        same = node.incarnation == event.incarnation
        if not same and node.lost_at is None:
            self.on_lost(NodeLost(event.node, "it was restarted", died=True), now)
        node.update(event)
        if same and node.moved:
            withdrawals: list[Message] = [Withdraw(task, attempt) for task, attempt in node.moved.items()]
            self._effects.append(Send(event.node, withdrawals))
        node.moved.clear()

    def on_suspected(self, event: NodeSuspected, now: float) -> None:
        """Give a silent node nothing new for now."""
        node = self._nodes.get(event.node)
        if node is not None:
            node.suspect = True

    def on_returned(self, event: NodeReturned, now: float) -> None:
        """Use a node again that was silent."""
        node = self._nodes.get(event.node)
        if node is not None:
            node.suspect = False

    def on_lost(self, event: NodeLost, now: float) -> None:
        """Have sent elsewhere what the node had."""
        node = self._nodes.get(event.node)
        if node is None or node.lost_at is not None:
            return
        node.lost_at = self._patience.node_seen_at = now
        moved = {task.id: task.attempt for task in node.in_flight.values() if task.once}
        for task in list(node.in_flight.values()):
            story = f"the node was lost ({event.reason})"
            if task.once:
                self.give_up(task, node, story)
            elif event.died and task.state is TaskState.STARTED:
                self.charge(task, node, story, now)
        again = list(node.in_flight.values())
        node.moved = moved | {task.id: task.attempt for task in again}
        self.wait_again(node, again, now)

    def forget(self, now: float) -> None:
        """Forget the nodes that were lost long ago."""
        for node in list(self._nodes.values()):
            if node.lost_at is not None and now - node.lost_at > _FORGET_S:
                del self._nodes[node.node]

    def give_up(self, task: OwnedTask, node: NodeAccount, story: str) -> None:
        """End a task that may have run, and must not run twice."""
        ending = Ending.REVOKED if task.revoked else Ending.LOST
        self._settle(task, Outcome(ending, text=f"attempt {task.attempt} on {node.name}: {story}"))

    def charge(self, task: OwnedTask, node: NodeAccount, story: str, now: float) -> None:
        """Charge a death under the task, and try again while it may."""
        if task.once:
            self.give_up(task, node, story)
            return
        task.deaths = [*(task.deaths or ()), f"attempt {task.attempt} on {node.name}: {story}"]
        if task.options is not None and task.options.get("chunk") == SPLIT:
            # One of its calls is to blame: who has put them together sends them again, each for itself.
            self._settle(task, Outcome(Ending.WORKER_LOST, text=task.deaths[0]))
            return
        self.wait_again(node, [task], now)

    def wait_again(self, node: NodeAccount, tasks: list[OwnedTask], now: float) -> None:
        """Take tasks back from a node, to send them out anew; those that must not go again end."""
        again: list[OwnedTask] = []
        for task in tasks:
            outcome = last_word(task, now)
            if outcome is not None:
                if outcome.ending is Ending.WORKER_LOST:
                    self._tell_of_dead(task, node, outcome.text)
                self._settle(task, outcome)
                continue
            node.let_go(task)
            task.state = TaskState.RETRY if task.deaths or task.retries else TaskState.PENDING
            if self.on_taken_back is not None:
                self.on_taken_back(task, now)
            again.append(task)
        self._router.wait_first(again, now)

    def _tell_of_dead(self, task: OwnedTask, last: NodeAccount, story: str) -> None:
        """Have a node list a task that was given up."""
        present = (node for node in (last, *self._nodes.values()) if node.lost_at is None)
        node = next(present, None)
        if node is not None:
            self._effects.append(Send(node.node, [Dead(task.id, task.function, story[:LONGEST_TEXT])]))


def take_over_deaths(task: OwnedTask, deaths: int) -> None:
    """Go on counting from as many deaths as the task has had elsewhere.

    The number comes from outside: a task that has had all that it may would have ended there.
    """
    deaths = min(deaths, MAX_DEATHS - 1)
    if deaths > len(task.deaths or ()):
        task.deaths = [_ELSEWHERE] * deaths


def last_word(task: OwnedTask, now: float) -> Outcome | None:
    """Return how a task ends that its node no longer has, or None where it may go out again."""
    if task.withdrawing:
        return Outcome(Ending.CANCELLED)
    if task.revoked:
        return Outcome(Ending.REVOKED)
    if task.deaths is not None and len(task.deaths) >= MAX_DEATHS:
        return Outcome(Ending.WORKER_LOST, text="; ".join(task.deaths))
    if has_expired(task, now):
        return Outcome(Ending.EXPIRED, text=task.story())
    return None
