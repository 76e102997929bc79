"""The system's word that an address has come or gone, in a network namespace of its own."""

from __future__ import annotations

import asyncio
import errno
import shutil
import socket
import subprocess
import sys
import time

import pytest

from meshq.transport import address_changes
from meshq.transport.address_changes import AddressChanges

SOON_S = 5.0
NEVER_S = 60.0

SCRIPT = """
import asyncio, subprocess
from meshq.transport.address_changes import AddressChanges

async def changes() -> None:
    with AddressChanges() as watched:
        assert watched.are_told
        for act in ("add", "del"):
            subprocess.run(["ip", "address", act, "10.9.8.7/24", "dev", "lo"], check=True)
            assert await asyncio.wait_for(watched.wait(60), 5)
        assert not await watched.wait(0.01)  # and nothing is left over of the former
        print("told")

asyncio.run(changes())
"""


def _in_a_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    if not (sys.platform == "linux" and shutil.which("unshare") and shutil.which("ip")):
        pytest.skip("needs Linux with unshare and ip")
    return subprocess.run(["unshare", "--net", *command], capture_output=True, text=True, check=False)


def test_an_address_that_comes_or_goes_is_told() -> None:
    """Linux tells at once; nobody need look for it."""
    allowed = _in_a_namespace("true")
    if allowed.returncode:
        pytest.skip(f"no network namespace can be made here: {allowed.stderr.strip()}")
    done = _in_a_namespace(sys.executable, "-c", SCRIPT)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr


def test_where_nothing_is_told_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the system's word a wait ends by its limit."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with AddressChanges() as changes:
        assert not changes.are_told
        began_at = time.monotonic()
        assert not asyncio.run(changes.wait(0.02))
        assert time.monotonic() - began_at >= 0.02


def test_a_kernel_that_refuses_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sandbox without netlink one looks from time to time, as elsewhere."""

    def refuse(*arguments: object) -> socket.socket:
        raise PermissionError(errno.EPERM, "not here")

    monkeypatch.setattr(socket, "socket", refuse)
    with AddressChanges() as changes:
        assert not changes.are_told


class Broken:
    """A socket that fails as it is told to, each time it is read."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_closed = False

    def recv(self, size: int) -> bytes:
        raise OSError(self.number, "as the test will have it")

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(("number", "goes_on"), [(errno.ENOBUFS, True), (errno.ENETDOWN, False)])
def test_a_socket_that_fails(monkeypatch: pytest.MonkeyPatch, number: int, goes_on: bool) -> None:
    """That there were too many changes is a change; after any other error one looks from time to time."""
    broken = Broken(number)
    monkeypatch.setattr(address_changes, "_open", lambda: broken)

    async def wait(changes: AddressChanges) -> None:
        async def read(opened: Broken, size: int) -> bytes:
            return opened.recv(size)

        monkeypatch.setattr(asyncio.get_running_loop(), "sock_recv", read)
        await asyncio.wait_for(changes.wait(NEVER_S), SOON_S)

    with AddressChanges() as changes:
        asyncio.run(wait(changes))
        assert changes.are_told is goes_on
        assert broken.is_closed is not goes_on
    assert broken.is_closed
