"""What a lab test works with: segments, hosts, nodes and clients, all gone at its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from lab_process import LabClient, LabNode, LabProcess
from lab_segment import Host, Segment

from meshq.transport.keys import write_key

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class MeshOfLab:
    """A mesh of a name of its own: the environment that its nodes and clients get."""

    def __init__(self, name: str, key: Path | None) -> None:
        self.name = name
        self.key = key
        secrecy = {} if key is None else {"MESHQ_KEY": str(key)}
        self.environment = {"MESHQ_MESH": name, **secrecy}

    def renamed(self, name: str) -> MeshOfLab:
        """Return another mesh with the same key, or without one too."""
        return MeshOfLab(f"{self.name}-{name}", self.key)


class Lab:
    """Makes segments, and starts processes on their hosts."""

    module = "lab_tasks"
    """What the nodes offer."""
    script = HERE / "lab_client.py"
    """What clients run."""
    rooms: tuple[Path, ...] = (ROOT, HERE)
    """Where both find what they import."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._segments: list[Segment] = []
        self._processes: list[LabProcess] = []

    def segment(self, *, multicast_route: bool = False) -> Segment:
        """Make an empty segment."""
        segment = Segment(multicast_route)
        self._segments.append(segment)
        segment.build()
        return segment

    def meshes(self) -> list[MeshOfLab]:
        """Return two meshes that can share hosts: one with a key, one without."""
        return [MeshOfLab("keyed", self.key("mesh")), MeshOfLab("open", None)]

    def key(self, name: str) -> Path:
        """Make a key file."""
        path = self._directory / "keys" / f"{name}.key"
        write_key(path)
        return path

    def node(self, host: Host, mesh: MeshOfLab) -> LabNode:
        """Start a node with two slots; ``wait_ready`` waits until it is ready."""
        command = [sys.executable, "-m", "meshq", "node", self.module, "--name", "node", "--slots", "2"]
        command += ["--insecure"] if mesh.key is None else []
        node = LabNode(
            host, f"{mesh.name}-node-{host.name}", command, self._environment(host, mesh), self._directory
        )
        self._processes.append(node)
        return node

    def nodes(self, mesh: MeshOfLab, *hosts: Host) -> list[LabNode]:
        """Start a node on each of these hosts, and wait until all are ready."""
        nodes = [self.node(host, mesh) for host in hosts]
        for node in nodes:
            node.wait_ready()
        return nodes

    def client(self, host: Host, mesh: MeshOfLab, *arguments: object, **environment: str) -> LabClient:
        """Start the client script with a scenario and its arguments; ``environment`` overrides the mesh's."""
        label = f"{mesh.name}-client-{host.name}-{len(self._processes)}"
        command = [sys.executable, str(self.script), *map(str, arguments)]
        client = LabClient(
            host, label, command, self._client_environment(host, mesh, environment), self._directory
        )
        self._processes.append(client)
        return client

    def meshq(self, host: Host, mesh: MeshOfLab, *arguments: str, **environment: str) -> LabProcess:
        """Start a ``meshq`` command; ``environment`` overrides the mesh's."""
        label = f"{mesh.name}-meshq-{host.name}-{len(self._processes)}"
        command = [sys.executable, "-m", "meshq", *arguments]
        process = LabProcess(
            host, label, command, self._client_environment(host, mesh, environment), self._directory
        )
        self._processes.append(process)
        return process

    @staticmethod
    def measured(what: str, seconds: float) -> float:
        """Print a duration, which ``pytest -rP`` shows for passing tests too, and return it."""
        print(f"measured: {what}: {seconds:.2f} s")
        return seconds

    def logs(self) -> Mapping[str, str]:
        """Return what each process has printed, by label."""
        return {process.label: process.log() for process in self._processes}

    def close(self) -> None:
        """End all processes, and remove all segments."""
        try:
            for process in self._processes:
                process.signal_stop()
            for process in self._processes:
                process.stop()
        finally:
            for segment in self._segments:
                segment.remove()

    def _client_environment(self, host: Host, mesh: MeshOfLab, more: Mapping[str, str]) -> dict[str, str]:
        trust = {"MESHQ_INSECURE": "1"} if mesh.key is None else {}
        return {**self._environment(host, mesh), **trust, **more}

    def _environment(self, host: Host, mesh: MeshOfLab) -> dict[str, str]:
        """Give each host directories of its own, as it would have."""
        home = self._directory / host.name
        paths = {
            name: str(home / name.lower()) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
        }
        rooms = os.pathsep.join(map(str, self.rooms))
        return {**mesh.environment, **paths, "PYTHONPATH": rooms, "PYTHONUNBUFFERED": "1"}
