"""The control side of a mesh: opened on first use, on the mesh's own loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from meshq.client.asking import ASK_S
from meshq.client.runtime import Runtime
from meshq.control.giving import pack_arguments
from meshq.control.lanes import ControlLanes, Reach
from meshq.core.membership import Absent
from meshq.core.owner import Revoked
from meshq.errors import MeshqError
from meshq.ids import new_id
from meshq.protocol.messages import Command

# A mesh this young may not have seen all its nodes yet: mDNS takes up to 100 ms for those that are there.
YOUNG_S = 1.0


class MeshControl:
    """What ``Control`` asks of a mesh; see ``ControlPort``. ``purge`` discards the mesh's own waiting tasks."""

    def __init__(self, runtime: Runtime, purge: Callable[[bytes, Callable[[int], None]], None]) -> None:
        self._runtime = runtime
        self._purge = purge
        self._lanes: ControlLanes | None = None

    @property
    def client_id(self) -> bytes:
        """The id under which replies come back."""
        return self._runtime.hello.client

    def begin_command(
        self,
        command: Command,
        timeout: float,
        limit: int | None,
        on_reply: Callable[[str, Any], None],
        on_finish: Callable[[dict[str, str]], None],
    ) -> None:
        """Give a command, from any thread."""
        if self._runtime.in_loop():
            raise MeshqError("a callback of a future must not give control commands, as it runs in their thread")

        def begin() -> None:
            self._open().begin(
                command, timeout=timeout, limit=limit, gather=self._is_young(), on_reply=on_reply,
                on_finish=on_finish,
            )  # fmt: skip

        self._runtime.ask(begin)

    def ask_nodes(
        self,
        name: str,
        arguments: dict[str, Any],
        destination: list[str],
        on_reply: Callable[[str, Any], None],
        on_finish: Callable[[dict[str, str]], None],
    ) -> None:
        """Give a command to all nodes, or to those named, for ``ASK_S`` seconds; for the loop's thread."""
        packed = pack_arguments(arguments)
        command = Command(new_id(), self.client_id, name, packed, destination, "", True, ASK_S)
        self._open().begin(
            command, timeout=ASK_S, limit=None, gather=False, on_reply=on_reply, on_finish=on_finish
        )

    def revoke_owned(self, tasks: list[bytes]) -> None:
        """Revoke those of the tasks that are this mesh's own."""
        self._runtime.ask(self._runtime.engine.handle, Revoked(tasks))

    def purge_owned(self, command: bytes, on_answer: Callable[[int], None]) -> None:
        """Discard this mesh's own waiting tasks; ``on_answer`` gets their number, in the loop's thread."""
        self._purge(command, on_answer)

    def refresh(self) -> None:
        """Take in that nodes have come or gone; for the loop's thread."""
        if self._lanes is not None:
            self._lanes.refresh()

    def _is_young(self) -> bool:
        young = time.monotonic() - self._runtime.started_at < YOUNG_S
        return young and not self._runtime.is_complete()

    def _open(self) -> ControlLanes:
        if self._lanes is None:
            runtime = self._runtime
            self._lanes = ControlLanes(runtime.loop, runtime.context, runtime.key, runtime.hello, self)
            runtime.parts.append(self._lanes)
        return self._lanes

    @property
    def changes(self) -> int:
        """A number that grows whenever ``absent`` or ``reaches`` may have something else to say."""
        return self._runtime.engine.session.membership.changes

    def absent(self) -> list[Absent]:
        """Return the nodes that should be there and do not answer."""
        return self._runtime.engine.absent()

    def reaches(self) -> list[Reach]:
        """Return how each node that answers is reached."""
        return [
            Reach(
                view.node_id,
                view.incarnation,
                f"{view.ack.name}@{view.ack.host}",
                view.endpoint,
                view.ack.control_port,
                view.left,
            )
            for view in self._runtime.engine.nodes()
            if view.ack.control_port
        ]
