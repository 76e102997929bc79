"""Waiting for nodes, and which error it is when there is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from meshq.errors import AuthenticationError, MeshqError, NoNodes

if TYPE_CHECKING:
    from meshq.client.mesh import Mesh
    from meshq.client.nodes import NodeInfo

FIND_S = 2.0
"""How long nodes are looked for where the user does not say."""
SETTLE_S = 0.3
"""With no further node for so long, those that are there have been found: mDNS and HELLO take some 100 ms.

It need not be waited for where all nodes are seen that those seen have named.
"""
_POLL_S = 0.01


def settle(mesh: Mesh, timeout: float, count: int | None = None) -> list[NodeInfo]:
    """Return the nodes once ``count`` are seen, or, without it, all that are there; at most ``timeout`` s."""
    end_at = time.monotonic() + timeout
    nodes, changed_at = mesh.nodes(), time.monotonic()
    while time.monotonic() < end_at:
        if count is not None and len(nodes) >= count:
            break
        if count is None and nodes and (mesh.is_complete() or time.monotonic() - changed_at >= SETTLE_S):
            break
        time.sleep(_POLL_S)
        seen = mesh.nodes()
        if len(seen) != len(nodes):
            changed_at = time.monotonic()
        nodes = seen
    return nodes


def absence(mesh: Mesh) -> MeshqError:
    """Return the error for a mesh without nodes, with the reasons: keys that do not match, or anything else."""
    from meshq.client.nodes import KEY_PROBLEMS

    kind = AuthenticationError if KEY_PROBLEMS & {problem.code for problem in mesh.problems()} else NoNodes
    return kind(mesh.explain_absence())
