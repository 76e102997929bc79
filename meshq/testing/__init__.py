"""For tests: a whole mesh on a virtual network and clock, without sockets, threads or waiting."""

from meshq.testing.ledger import SimFailure
from meshq.testing.mesh import SimMesh
from meshq.testing.slots import SimFunction

__all__ = ["SimFailure", "SimFunction", "SimMesh"]
