"""A process on the virtual machine: takes what comes, ticks its machines when they are due, can freeze and die."""

from __future__ import annotations

from abc import ABC, abstractmethod

from meshq.testing.agenda import Action, Agenda


class Process(ABC):
    """What nodes and clients have in common. ``host`` is where it runs, which is what cuts go by."""

    def __init__(self, agenda: Agenda, name: str, host: str) -> None:
        self.agenda = agenda.seen_by(name)
        self.turns = 0
        """How often it has been at work."""
        self._on_turn = agenda.on_turn
        self.name = name
        self.host = host
        self.alive = True
        self.frozen = False
        self._backlog: list[Action] = []
        self._wake_at: float | None = None
        self._due: float | None = None
        """When its machines were due, as of the end of its last turn."""

    def post(self, action: Action) -> None:
        """Let the process deal with something: now, when it thaws, or never where it is dead."""
        if not self.alive:
            return
        if self.frozen:
            self._backlog.append(action)
        else:
            action()
            self._turn()

    def post_later(self, seconds: float, action: Action) -> None:
        """Let the process deal with something after a while."""
        self.agenda.later(seconds, lambda: self.post(action))

    def freeze(self) -> None:
        """Stop the process where it is, as SIGSTOP does."""
        self.frozen = True

    def thaw(self) -> None:
        """Let it go on: first with all that has come meanwhile."""
        if not (self.alive and self.frozen):
            return
        self.frozen = False
        backlog, self._backlog = self._backlog, []
        for action in backlog:
            if self.alive:
                action()
        if self.alive:
            self._turn()

    def end(self) -> None:
        """Be no more."""
        self.alive = False
        self._backlog.clear()

    @abstractmethod
    def next_deadline(self) -> float | None:
        """Return when ``step`` has something to do."""

    @abstractmethod
    def step(self) -> None:
        """Tick what is due, and send what waits."""

    def is_due(self) -> bool:
        """Whether a machine is to be ticked; what has become due in this very turn has the next one, at once."""
        return self._due is not None and self._due <= self.agenda.now

    def _turn(self) -> None:
        self.step()
        self.turns += 1
        if self._on_turn is not None:
            self._on_turn(self)
        due = self._due = self.next_deadline() if self.alive else None
        if due is not None and (self._wake_at is None or due < self._wake_at):
            self._wake_at = due
            self.agenda.at(due, lambda: self._wake(due))

    def _wake(self, due: float) -> None:
        if self._wake_at != due:
            return  # an earlier one has taken its place
        self._wake_at = None
        if self.alive and not self.frozen:
            self._turn()
