"""Processes on the lab's hosts: each logs to a file, and a client also writes down what it sees."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from lab_segment import Host

T = TypeVar("T")
Event = dict[str, Any]


def wait_until(what: str, look: Callable[[], T | None], timeout: float = 20.0) -> T:
    """Look again and again until there is something to return; AssertionError, naming it, after ``timeout``."""
    end_at = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end_at, f"waited {timeout:g} s in vain for {what}"
        time.sleep(0.02)


def sleep_until(instant: float) -> None:
    """Let time pass: what a cut of a certain length takes."""
    time.sleep(max(0.0, instant - time.monotonic()))


class LabProcess:
    """A process on a host, and the file that its output goes to."""

    def __init__(
        self, host: Host, label: str, arguments: Sequence[str], environment: Mapping[str, str], directory: Path
    ) -> None:
        self.host = host
        self.label = label
        self.log_path = directory / f"{label}.log"
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                host.command(arguments),
                env={**os.environ, **environment},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log(self) -> str:
        """Return what it has printed so far."""
        return self.log_path.read_text(errors="replace")

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for its end and return its exit code."""
        wait_until(f"the end of {self.label}", lambda: self._process.poll() is not None, timeout)
        return self._process.returncode

    def wait_for_log(self, text: str, timeout: float = 20.0) -> None:
        """Wait until it has printed ``text``."""

        def look() -> bool:
            over = self._process.poll() is not None  # before the log is read, as it may say it and end
            found = text in self.log()
            assert found or not over, f"{self.label} ended with {self._process.returncode}, without {text!r}"
            return found

        wait_until(f"{text!r} from {self.label}", look, timeout)

    def signal_stop(self) -> None:
        """Ask it to end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """See to it that it has ended, by SIGKILL where it did not heed the asking."""
        try:
            self._process.wait(3.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5.0)


class LabNode(LabProcess):
    """A node; ``ready_at`` is the monotonic instant at which it said that it was ready."""

    ready_at: float

    @property
    def full_name(self) -> str:
        """Its NAME@HOST."""
        return f"node@{self.host.name}"

    @property
    def port(self) -> int:
        """The port of its work socket, as it said."""
        match = re.search(r"is ready: .* at tcp://\S+:([0-9]+)", self.log())
        assert match is not None
        return int(match[1])

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until it says that it is ready."""
        self.wait_for_log("is ready", timeout)
        line = next(line for line in self.log().splitlines() if "is ready" in line)
        said_at = datetime.fromisoformat(line.split()[0]).timestamp()
        self.ready_at = time.monotonic() - (time.time() - said_at)


class LabClient(LabProcess):
    """A client script; ``events`` is what it has written down so far."""

    def __init__(
        self, host: Host, label: str, arguments: Sequence[str], environment: Mapping[str, str], directory: Path
    ) -> None:
        self._events_path = directory / f"{label}.events"
        self._events_path.touch()
        self.stop_path = directory / f"{label}.stop"
        told = {"LAB_EVENTS": str(self._events_path), "LAB_STOP": str(self.stop_path)}
        super().__init__(host, label, arguments, {**environment, **told}, directory)

    def events(self, kind: str | None = None) -> list[Event]:
        """Return what it has written down, of one kind or all of it."""
        lines = self._events_path.read_text().rpartition("\n")[0].splitlines()
        return [event for event in map(json.loads, lines) if kind in (None, event["kind"])]

    def wait_for(self, kind: str, timeout: float = 30.0, after: float = 0.0, **fields: Any) -> Event:
        """Wait for an event with these fields, at an instant ``after`` or later, and return it.

        Fails at once where the client has ended without it.
        """

        def look() -> Event | None:
            over = self._process.poll() is not None
            for event in self.events(kind):
                if event["at"] >= after and all(event[field] == value for field, value in fields.items()):
                    return event
            assert not over, f"{self.label} ended without {kind} {fields}"
            return None

        return wait_until(f"{kind} {fields} from {self.label}", look, timeout)

    def may_stop(self) -> None:
        """Tell a client that goes on until it is told otherwise."""
        self.stop_path.touch()
