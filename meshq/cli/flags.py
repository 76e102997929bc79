"""Flags that several commands share, and the mesh that they lead to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from meshq.client.mesh import Mesh

F = TypeVar("F", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A number of seconds. Neither NaN, which a range lets pass, nor without end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; raises ``UsageError`` for what is none."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number


_MESH_FLAGS = (
    click.option("--mesh", metavar="NAME", help="The mesh's name. [default: default]"),
    click.option("--key", metavar="FILE", help="The mesh key. [default: what 'meshq key new' writes]"),
    click.option("--insecure", is_flag=True, default=None, help="Do without a key beyond this machine."),
    click.option(
        "--peer", "peers", metavar="URL", multiple=True, help="A node's tcp://HOST:PORT. May be repeated."
    ),
)


def mesh_flags(function: F) -> F:
    """Add the flags that choose a mesh: ``mesh, key, insecure, peers``. What is not given is None or ()."""
    for option in reversed(_MESH_FLAGS):
        function = option(function)
    return function


def json_flag(function: F) -> F:
    """Add ``--json``, as the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")(function)


def open_mesh(flags: dict[str, Any], role: str = "client") -> Mesh:
    """Return a mesh by what ``mesh_flags`` has taken."""
    from meshq.client.mesh import Mesh

    return Mesh(flags["mesh"], flags["key"], flags["peers"], insecure=flags["insecure"], role=role)
