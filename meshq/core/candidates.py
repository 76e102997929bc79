"""Hints of where nodes may be, and what dialling asks for and is bound by."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias

MDNS = "mdns"
"""The source whose candidates anyone can make up, and which says what key a node has."""
PEER = "peer"
"""The source whose candidates nodes that answer have named; so only a holder of the key can make them up.

What comes from yet another source was named by the user.
"""


class Candidate(NamedTuple):
    """A hint that a node may be found at these endpoints, the best first (there is at least one).

    ``key`` is the fingerprint of the mesh key that was announced; "" means none (``MDNS``) or not known (any
    other ``source``). ``label`` names the candidate to people.
    """

    instance: str
    endpoints: tuple[str, ...]
    control_endpoints: tuple[str, ...]
    key: str
    source: str
    label: str


class Problem(NamedTuple):
    """Why a candidate does not count as a node.

    ``code``: ``refused``, ``auth``, ``mesh``, ``version``, ``silent``, ``key``, or another code of REFUSED.
    """

    label: str
    endpoint: str
    code: str
    text: str


class Absent(NamedTuple):
    """A node that should be there and does not answer.

    ``node`` is its id, or what stands for it where that is not known; ``name`` is NAME@HOST, or whatever it goes
    by. ``code`` is that of its last problem, "" while it is dialled for the first time. ``text`` says why it will
    not answer, where that is known: it is there, and speaks no version of the wire that is spoken here.
    """

    node: bytes
    name: str
    code: str
    text: str = ""


class Dial(NamedTuple):
    """Effect: open a connection to the endpoint, and call it ``link`` from now on."""

    link: int
    endpoint: str
    candidate: Candidate


class Hangup(NamedTuple):
    """Effect: close the link with all that waits in it; events of it are ignored from now on."""

    link: int


DialEffect: TypeAlias = Dial | Hangup


class Rng(Protocol):
    """The part of ``random.Random`` that is used here."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between ``a`` and ``b``."""


class DialSettings(NamedTuple):
    """Durations in seconds, and bounds."""

    hello_s: float = 5.0
    """How long a link may take to be welcomed once it is up."""
    connect_s: float = 5.0
    """How long a link may take to come up."""
    redial_min_s: float = 1.0
    redial_max_s: float = 30.0
    redial_lost_s: float = 1.0
    """The pause for a node that was lost within ``forget_s``: what was cut off is to be back soon after."""
    forget_s: float = 600.0
    """How long a candidate that is no longer announced is tried, and one that fell silent is missed."""
    per_candidate: int = 4
    dials: int = 128
    """Links being tried at a time. The threat: made-up announcements that use up our file descriptors."""
    candidates: int = 4_096
    """Size of the table. The threat: a spoofer who floods mDNS."""
    hints: int = 1_024
    """How many of these may be ``PEER`` candidates. The threat: a holder of the key who names ever new nodes."""
