"""``meshq bench``: how fast the mesh is, yours or one on this machine alone."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from meshq import bench as functions
from meshq.cli.absence import FIND_S, absence, settle
from meshq.cli.bench_measures import QUICK, Scale, warm
from meshq.cli.bench_parts import PARTS
from meshq.cli.bench_rounds import Findings, run_part
from meshq.cli.bench_show import machine, parts_json, print_figures
from meshq.cli.bench_sides import Side, mesh_side, pools
from meshq.cli.flags import json_flag, mesh_flags, open_mesh
from meshq.cli.local_nodes import LocalNodes, ending_on_signals, sealed_off
from meshq.cli.output import note, print_json
from meshq.cli.waiting import Waiting
from meshq.errors import ConfigError, MeshqError, NoNodes, UnknownTask

if TYPE_CHECKING:
    from meshq.client.mesh import Mesh
    from meshq.client.nodes import NodeInfo

OFFER = (
    "start nodes with 'meshq node meshq.bench', beside their own modules if you like; "
    "or measure on this machine alone: 'meshq bench --local'"
)
OFFER_S = 0.5
"""How long a node that offers the functions is waited for where others are seen."""
_LEAST_BACKLOG, _MOST_BACKLOG = 1_000, 10_000_000
_POOL_WORKERS = 2
_LOCAL_FLAGS = {"nodes": "--nodes", "slots": "--slots", "secure": "--secure"}


class Measured(NamedTuple):
    """The mesh that is measured, and the nodes that take part."""

    side: Side
    nodes: list[NodeInfo]
    mesh: str


@click.command()
@click.option("--local", is_flag=True, help="Measure nodes that are started for this, here, and end with it.")
@click.option("--nodes", type=click.IntRange(1, 100), metavar="N", help="With --local: so many. [default: 1]")
@click.option("--slots", type=click.IntRange(1, 1024), metavar="N", help="With --local: of each. [default: 2]")
@click.option("--secure", is_flag=True, default=None, help="With --local: with a key of their own. [default]")
@click.option(
    "--only",
    type=click.Choice(list(PARTS)),
    multiple=True,
    help="Measure this part. May be repeated. [default: all]",
)
@click.option("--quick", is_flag=True, help="One short round: the order of the figures, in seconds.")
@click.option("--rounds", type=click.IntRange(1, 100), metavar="N", help="Medians of N rounds. [default: 5]")
@click.option(
    "--backlog", type=click.IntRange(_LEAST_BACKLOG, _MOST_BACKLOG), metavar="N",
    help="The most tasks that are made to wait. [default: 100000]",
)  # fmt: skip
@click.option(
    "--compare", type=click.Choice(["processpool"]), help="Measure process pools of this machine in turn."
)
@click.option(
    "--workers", type=click.IntRange(1, 1024), metavar="N",
    help="With --compare: processes of each such pool. [default: 2]",
)  # fmt: skip
@mesh_flags
@json_flag
def bench(
    local: bool, only: tuple[str, ...], compare: str | None, workers: int | None, as_json: bool, **flags: Any
) -> int | None:
    """Measure how fast tasks go to the nodes and back.

    The nodes must offer the functions of meshq.bench (`meshq node meshq.bench`); with --local some are started.
    Whatever else the nodes have to do meanwhile shows in the figures. With --compare processpool the standard
    library's ProcessPoolExecutor and multiprocessing.Pool run the same functions in turn; a ratio is the mesh's
    figure to theirs.
    """
    scale = _scale(flags)
    _check(local, compare, workers, flags)
    with contextlib.ExitStack() as stack, Waiting("starting…", as_json) as waiting:
        stack.enter_context(ending_on_signals())
        others = stack.enter_context(pools(workers or _POOL_WORKERS)) if compare else []
        measured = stack.enter_context(_local(flags) if local else _own(flags))
        sides = [measured.side, *others]
        waiting.say("warming up…")
        seen = {side.name: warm(side) for side in sides}
        found = {name: _measure(name, sides, scale, waiting) for name in only or PARTS}
    if as_json:
        print_json({**_setting(measured, scale), "workers_seen": seen, "parts": parts_json(found)})
        return None
    click.echo(_heading(measured, scale))
    for side in sides:
        if seen[side.name] < side.workers:
            note(f"{side.name}: {seen[side.name]} of {side.workers} workers were seen at work")
    print_figures(found, [side.name for side in sides])
    return None


def _measure(name: str, sides: list[Side], scale: Scale, waiting: Waiting) -> Findings:
    def tell(number: int, count: int, side: str) -> None:
        waiting.say(f"{name}: round {number} of {count}, {side}…")

    return run_part(PARTS[name], sides, scale, tell)


def _scale(flags: dict[str, Any]) -> Scale:
    """Return how much is measured, and take the flags for it."""
    quick, rounds, most = (flags.pop(name) for name in ("quick", "rounds", "backlog"))
    scale = QUICK if quick else Scale()
    if rounds is not None:
        scale = dataclasses.replace(scale, rounds=rounds)
    if most is not None:
        tens = [_LEAST_BACKLOG * 10**power for power in range(5) if _LEAST_BACKLOG * 10**power < most]
        scale = dataclasses.replace(scale, backlogs=(*tens, most))
    return scale


def _check(local: bool, compare: str | None, workers: int | None, flags: dict[str, Any]) -> None:
    """Raise ``ConfigError`` for flags that exclude each other, or say nothing without another."""
    if workers is not None and compare is None:
        raise ConfigError("--workers is for the process pools of --compare: add --compare processpool")
    if local:
        given = [f"--{name}" for name in ("mesh", "key") if flags[name]] + ["--peer"] * bool(flags["peers"])
        if given:
            raise ConfigError(f"{given[0]} is for a mesh that is there, and --local starts one: leave one out")
        if flags["secure"] and flags["insecure"]:
            raise ConfigError("--secure and --insecure exclude each other: leave one out")
    elif given := [flag for name, flag in _LOCAL_FLAGS.items() if flags[name] is not None]:
        raise ConfigError(f"{given[0]} is for nodes that are started here: add --local")


# ---------------------------------------------------------------------- which mesh


@contextlib.contextmanager
def _own(flags: dict[str, Any]) -> Iterator[Measured]:
    """Join the mesh of the settings, and see who offers the functions."""
    with open_mesh(flags) as mesh:
        found = settle(mesh, FIND_S)
        if not found:
            missing = absence(mesh)
            raise type(missing)(f"{missing}; {OFFER}") if isinstance(missing, NoNodes) else missing
        nodes = _offering(mesh)
        if not nodes:
            names = ", ".join(sorted(node.full_name for node in found))
            raise UnknownTask(f"no node offers the functions of meshq.bench (seen: {names}): {OFFER}")
        arguments = {name: flags[name] for name in ("key", "peers", "insecure")}
        yield _taking_part(mesh, nodes, {"name": flags["mesh"], **arguments})


def _offering(mesh: Mesh) -> list[NodeInfo]:
    """Return the nodes that offer the functions; one that was just started is waited for a moment."""
    end_at = time.monotonic() + OFFER_S
    while True:
        nodes = [node for node in mesh.nodes() if set(node.functions) >= functions.NAMES]
        if nodes or time.monotonic() > end_at:
            return nodes
        time.sleep(0.02)


@contextlib.contextmanager
def _local(flags: dict[str, Any]) -> Iterator[Measured]:
    """Start nodes of their own, and join their mesh."""
    names = [f"bench-{number}" for number in range(1, 1 + (flags["nodes"] or 1))]
    with local_mesh(names, flags["slots"] or 2, secure=not flags["insecure"]) as mesh:
        yield _taking_part(mesh, mesh.nodes(), {"name": mesh.name})


@contextlib.contextmanager
def local_mesh(names: list[str], slots: int, *, secure: bool) -> Iterator[Mesh]:
    """Start nodes of these names with the functions of ``meshq.bench``; yield a client that sees all of them."""
    from meshq.client.mesh import Mesh

    name = f"bench-{secrets.token_hex(4)}"
    with sealed_off(name, slots, secure) as directory, LocalNodes(name, directory, functions.__name__) as nodes:
        nodes.start(*names)
        with Mesh() as mesh:
            nodes.wait_seen(mesh, *names)
            yield mesh
            mesh.close(cancel=True)


def _taking_part(mesh: Mesh, nodes: list[NodeInfo], flags: dict[str, Any]) -> Measured:
    slots = sum(node.slots for node in nodes)
    if slots < 1:
        raise MeshqError("the nodes have no slots")
    return Measured(mesh_side(mesh, slots, flags), sorted(nodes, key=lambda node: node.full_name), mesh.name)


# ---------------------------------------------------------------------- what was measured


def _setting(measured: Measured, scale: Scale) -> dict[str, Any]:
    nodes = [{"name": n.full_name, "slots": n.slots, "secured": n.secured} for n in measured.nodes]
    return {"mesh": measured.mesh, "nodes": nodes, "machine": machine(), "rounds": scale.rounds}


def _heading(measured: Measured, scale: Scale) -> str:
    """Say in a line what was measured."""
    nodes, here = measured.nodes, machine()
    key = "with" if all(node.secured for node in nodes) else "without"
    return (
        f"mesh {measured.mesh}: nodes {len(nodes)}, slots {measured.side.workers}, {key} a key; "
        f"Python {here['python']}, {here['cpus']} CPUs here; rounds {scale.rounds}"
    )
