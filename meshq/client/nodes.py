"""What a program is told of the nodes that its mesh sees."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from meshq.core.membership import NodeView, Problem
from meshq.ids import format_id
from meshq.tasks import SHIPPED

KEY_PROBLEMS = frozenset({"auth", "key"})
"""The codes of problems of nodes that are there, and that another key would help with."""
_TAKE_PICKLES = "Start one with --allow-pickle and the mesh's key (meshq key new)"


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node, as it is known here. ``state`` is ``alive``, ``suspect`` or ``draining``."""

    name: str
    host: str
    id: str
    address: str
    state: str
    slots: int
    functions: tuple[str, ...]
    tags: tuple[str, ...]
    secured: bool

    @property
    def full_name(self) -> str:
        """The node's NAME@HOST."""
        return f"{self.name}@{self.host}"


def describe(view: NodeView) -> NodeInfo:
    """Return what a program is told of a node."""
    ack = view.ack
    state = "draining" if ack.draining and view.state == "alive" else view.state
    return NodeInfo(
        ack.name,
        ack.host,
        format_id(ack.node),
        view.endpoint,
        state,
        ack.slots,
        tuple(sorted(ack.functions.keys() - ack.aliases.keys())),
        tuple(ack.tags),
        ack.secured,
    )


def explain_unknown(function: str, tags: Collection[str], serializer: str, nodes: Collection[NodeInfo]) -> str:
    """Say which nodes were seen, what they offer, and what would help."""
    offering = [node for node in nodes if function in node.functions]
    if offering:
        return _explain_unfit(function, tags, serializer, offering)
    if function == SHIPPED:
        names = ", ".join(node.full_name for node in nodes)
        return f"no node takes functions as pickles. Seen: {names or 'no node'}. {_TAKE_PICKLES}"
    module, _, name = function.rpartition(".")
    offers = "; ".join(f"{node.full_name} offers {_list(node.functions)}" for node in nodes)
    start = f"Start a node with the module that defines it ('meshq node {module or name}'), or allow it by name"
    if module in sys.stdlib_module_names:  # there is no task in it
        start = "Start a node that allows it by name"
    return f"no node offers {function}. Seen: {offers or 'no node'}. {start} ('--allow {module}:{name}')"


def _explain_unfit(function: str, tags: Collection[str], serializer: str, offering: Collection[NodeInfo]) -> str:
    """Say why no node that offers a function may be sent the task."""
    if any(set(tags) <= set(node.tags) for node in offering):
        help = "start one with --allow-pickle" if serializer == "pickle" else "choose another"
        return f"no node that offers {function} takes the serializer {serializer}: {help}"
    seen = "; ".join(f"{node.full_name} has {_list(node.tags)}" for node in offering)
    flags = " ".join(f"--tag {tag}" for tag in sorted(tags))
    return f"no node that offers {function} has all its tags. Seen: {seen}. Start one with '{flags}'"


def _list(functions: tuple[str, ...], most: int = 8) -> str:
    if not functions:
        return "nothing"
    more = f" and {len(functions) - most} more" if len(functions) > most else ""
    return ", ".join(functions[:most]) + more


def explain_absence(
    mesh: str, problems: Iterable[Problem], unsafe: dict[str, str], draining: Collection[str] = ()
) -> str:
    """Say why no node is seen that takes work, as far as known; ``draining`` names those that take none."""
    problems = list(problems)
    if draining:
        nodes = ", ".join(sorted(draining))
        return f"all nodes of the mesh {mesh!r} drain, and take nothing new: {nodes}. Start another"
    reasons = [f"{problem.label} ({problem.endpoint}): {problem.text}" for problem in problems]
    reasons += [
        f"{name} ({where}): without a key of ours anybody could answer there; give the mesh's key file, "
        "or, if its nodes have none, pass insecure=True (--insecure) to trust this network"
        for name, where in unsafe.items()
    ]
    said = "; ".join(reasons) or "none was announced, and none answered"
    said_how = unsafe or any(problem.code in KEY_PROBLEMS or problem.code == "version" for problem in problems)
    help = "" if said_how else ". Start one with 'meshq node MODULE'"
    return f"no node of the mesh {mesh!r} was found: {said}{help}"
