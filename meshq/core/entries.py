"""A candidate in the books of dialling, and a link that is tried for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshq.core.candidates import MDNS, PEER, Absent, Candidate, Problem

_FOREIGN = frozenset({"key", "mesh"})
"""Problems of what belongs to another mesh, and is missed by nobody here."""


@dataclass(slots=True)
class Entry:
    """A candidate. ``todo``: endpoints still to dial in this round; ``links``: those being tried.

    ``since``: when it was seen first, or anew, or lost; ``node`` and ``name``: of who answered last, at
    ``answered``; ``ended``: that process is known to be no more.
    """

    candidate: Candidate
    since: float
    todo: list[str] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    failures: int = 0
    settled: bool = False
    gone: bool = False
    ended: bool = False
    node: bytes = b""
    name: str = ""
    answered: str = ""
    lost_at: float | None = None
    problem: Problem | None = None

    @property
    def code(self) -> str:
        """The code of the last problem, "" for none."""
        return self.problem.code if self.problem else ""

    @property
    def is_absent(self) -> bool:
        """Whether it does not answer, and nothing says that it need not."""
        left = self.ended or (self.gone and self.candidate.source == MDNS)
        return not self.settled and not left and self.code not in _FOREIGN

    @property
    def is_expendable(self) -> bool:
        """Whether a flood of other hints may push it out: nobody answers there, and the user did not name it."""
        return not self.settled and self.candidate.source in (MDNS, PEER)

    def as_absent(self) -> Absent:
        """Return it as who is missed."""
        text = self.problem.text if self.problem and self.problem.code == "version" else ""
        node = self.node or _id_of(self.candidate.instance)
        return Absent(node, self.name or self.candidate.label, self.code, text)


@dataclass(slots=True)
class Link:
    """A link being tried; ``up`` once it was connected."""

    entry: Entry
    endpoint: str
    up: bool = False


def _id_of(instance: str) -> bytes:
    """Return the node's id that an instance is, or something that stands for it."""
    try:
        return bytes.fromhex(instance)
    except ValueError:
        return instance.encode()
