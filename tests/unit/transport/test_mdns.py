"""mDNS on loopback, with real multicast: nodes are found, their leave is heard, strangers are not."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from zeroconf import ServiceStateChange, Zeroconf

from meshq.transport import address_changes, multicast
from meshq.transport import mdns as mdns_module
from meshq.transport.discovery import Candidate, mesh_hash
from meshq.transport.mdns import Mdns, MdnsAnnouncer, MdnsBrowser
from meshq.transport.mdns_records import SERVICE_TYPE, decode_candidate, encode_properties, service_name_of

KEY = "0123456789abcdef"


def _node(mesh: str, **changes: Any) -> Candidate:
    node = Candidate(
        "mdns", uuid.uuid4().hex, "node", socket.gethostname(), ("127.0.0.1",), 7700, 7701, mesh_hash(mesh), KEY,
        "0.1.0", 3,
    )  # fmt: skip
    return node._replace(**changes)


def _until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


class Listener:
    """A browser that writes down what it hears."""

    def __init__(self, mesh: str, mdns: Mdns | None = None) -> None:
        self.seen: dict[str, Candidate] = {}
        self.gone: list[str] = []
        self.browser = MdnsBrowser(mesh, mdns, loopback_only=True)
        self.browser.start(lambda candidate: self.seen.update({candidate.instance: candidate}), self.gone.append)


class Air:
    """Opens listeners and announcers, and closes them at the end."""

    def __init__(self) -> None:
        self.mesh = f"test-{uuid.uuid4().hex}"
        self._open: list[Any] = []

    def listen(self, mdns: Mdns | None = None) -> Listener:
        listener = Listener(self.mesh, mdns)
        self._open.append(listener.browser)
        return listener

    def announce(self, node: Candidate, mdns: Mdns | None = None) -> MdnsAnnouncer:
        announcer = MdnsAnnouncer(node, "127.0.0.1", mdns)
        announcer.start()
        self._open.append(announcer)
        return announcer

    def shared(self) -> Mdns:
        self._open.append(mdns := Mdns(loopback_only=True))
        return mdns

    def close(self) -> None:
        for opened in reversed(self._open):
            opened.close()


@pytest.fixture
def air() -> Iterator[Air]:
    """What one test says and hears, under a mesh name of its own."""
    opened = Air()
    yield opened
    opened.close()


def test_a_node_is_found_whoever_comes_first(air: Air) -> None:
    """A listener hears a node that starts later, and one that was there before, in under two seconds."""
    early = air.listen()
    node = _node(air.mesh)
    air.announce(node)
    _until(lambda: early.seen, 2)
    late = air.listen()
    _until(lambda: late.seen, 2)
    assert early.seen == late.seen == {node.instance: node}


def test_a_leave_is_heard_and_takes_little_time(air: Air) -> None:
    """A node that closes is gone for its listeners; closing takes less than half a second, twice nothing."""
    listener = air.listen()
    node = _node(air.mesh)
    announcer = air.announce(node)
    _until(lambda: listener.seen)
    began = time.monotonic()
    announcer.close()
    assert time.monotonic() - began < 0.5
    announcer.close()
    _until(lambda: listener.gone == [node.instance], 2)


def test_one_process_can_speak_and_listen_over_one_instance(air: Air) -> None:
    """Announcer and browser share it, hear themselves and others, and each can end without the other."""
    shared = air.shared()
    listener, other = air.listen(shared), air.listen()
    first, second = _node(air.mesh), _node(air.mesh)
    announcer = air.announce(first, shared)
    air.announce(second)
    _until(lambda: listener.seen.keys() == other.seen.keys() == {first.instance, second.instance})
    announcer.close()
    _until(lambda: listener.gone == other.gone == [first.instance])
    assert shared.available


def test_other_meshes_are_not_reported_and_other_keys_are(air: Air) -> None:
    """A mesh is told by its name; the same name with another key is shown, so that somebody can say so."""
    listener = air.listen()
    air.announce(_node("another mesh"))
    stranger = _node(air.mesh, key="fedcba9876543210")
    air.announce(stranger)
    keyless = _node(air.mesh, key="")
    air.announce(keyless)
    _until(lambda: len(listener.seen) == 2)
    assert listener.seen == {stranger.instance: stranger, keyless.instance: keyless}


def test_a_node_that_comes_back_elsewhere_is_told_again(air: Air) -> None:
    """The same id at another port, after a kill without a leave, is a change that listeners hear."""
    listener = air.listen()
    node = _node(air.mesh)
    killed = air.announce(node)
    _until(lambda: listener.seen)
    assert killed._mdns is not None
    assert killed._mdns.zeroconf is not None
    killed._mdns.zeroconf.generate_unregister_all_services()  # forgets it without a word
    successor = node._replace(port=7800, control_port=7801, incarnation=4)
    air.announce(successor)
    _until(lambda: listener.seen == {node.instance: successor})
    assert listener.gone == []


def test_a_killed_node_is_not_remembered_for_an_hour(air: Air) -> None:
    """What its announcement is kept for is a third of what is usual; living nodes are asked again before."""
    listener = air.listen()
    node = _node(air.mesh)
    air.announce(node)
    _until(lambda: listener.seen)
    assert listener.browser._mdns is not None
    assert listener.browser._mdns.zeroconf is not None
    records = listener.browser._mdns.zeroconf.cache.entries_with_name(SERVICE_TYPE)
    [pointer] = [record for record in records if getattr(record, "alias", "") == service_name_of(node.instance)]
    assert pointer.ttl == mdns_module.TTL_S


def test_closing_while_it_is_being_announced_is_quick_and_clean(air: Air) -> None:
    """A node stopped right after its start leaves nobody behind."""
    listener = air.listen()
    _until(lambda: listener.browser._browser is not None)
    began = time.monotonic()
    for _ in range(3):
        air.announce(_node(air.mesh)).close()
    assert time.monotonic() - began < 2
    _until(lambda: len(listener.gone) == len(listener.seen))


def test_after_closing_nothing_is_reported(air: Air) -> None:
    """A closed browser is silent, one that was never started can be closed, and one of a closed instance too."""
    listener = air.listen()
    witness = air.listen()
    listener.browser.close()
    air.announce(_node(air.mesh))
    _until(lambda: witness.seen)
    assert listener.seen == {}
    listener.browser.close()
    never = MdnsBrowser(air.mesh, loopback_only=True)
    never.close()
    never.start(lambda candidate: None, lambda instance: None)  # too late: it ends by itself
    assert never._mdns is None
    MdnsAnnouncer(_node(air.mesh), "127.0.0.1").close()
    shared = air.shared()
    shared.close()
    assert not shared.available
    orphan = air.listen(shared)
    orphan.browser.close()


def test_a_browser_may_be_closed_by_two_threads(air: Air, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Ctrl-C comes while it is being started: it is stopped once, and neither fails."""
    listener = air.listen()
    _until(lambda: listener.browser._browser is not None)
    stopped: list[Zeroconf] = []

    async def stop(zeroconf: Zeroconf) -> None:
        stopped.append(zeroconf)
        await asyncio.sleep(0.1)

    monkeypatch.setattr(listener.browser, "_stop", stop)
    with ThreadPoolExecutor(2) as pool:
        for closing in [pool.submit(listener.browser.close) for _ in range(2)]:
            closing.result()
    assert len(stopped) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can confine a socket")
@pytest.mark.parametrize("privileged", [True, False])
def test_on_loopback_alone_the_network_is_not_heard(
    air: Air, monkeypatch: pytest.MonkeyPatch, privileged: bool
) -> None:
    """No socket of a loopback-only instance hears queries from elsewhere, which it would answer."""
    if not privileged:
        monkeypatch.setattr(multicast, "_CONFINEMENTS", multicast._CONFINEMENTS[1:])
    mdns = air.shared()
    assert mdns.zeroconf is not None
    for reader in mdns.zeroconf.engine.readers:
        opened = reader.transport.get_extra_info("socket")
        bound = opened.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
        all_groups = opened.getsockopt(socket.IPPROTO_IP, multicast._IP_MULTICAST_ALL)
        assert bound or all_groups == 0
    listener = air.listen(mdns)
    air.announce(_node(air.mesh), mdns)
    _until(lambda: listener.seen)


def test_without_multicast_it_warns_once_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A host where no socket can be opened for it still runs, with a hint at what to do instead."""

    def refuse(*args: object, **options: object) -> None:
        raise OSError("no multicast")

    monkeypatch.setattr(multicast, "Zeroconf", refuse)
    with caplog.at_level(logging.WARNING, logger="meshq.discovery"):
        mdns = Mdns()
        listener = Listener("mesh", mdns)
        announcer = MdnsAnnouncer(_node("mesh"), "127.0.0.1", mdns)
        announcer.start()
        announcer.close()
        listener.browser.close()
        mdns.close()
    assert not mdns.available
    assert [record.getMessage() for record in caplog.records] == [
        "no multicast here, so no node is found by itself: name peers, as in tcp://HOST:PORT"
    ]


Word = tuple[socket.socket, socket.socket]


@pytest.fixture
def word() -> Iterator[Word]:
    """What the system sends its word through when addresses change, and where it is heard."""
    system, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.setblocking(False)
    with system, told:
        yield system, told


@pytest.mark.parametrize("is_told", [True, False])
def test_a_new_interface_is_noticed(air: Air, word: Word, monkeypatch: pytest.MonkeyPatch, is_told: bool) -> None:
    """When the addresses of the host change, the node is announced with the new ones, told or not."""
    system, told = word
    monkeypatch.setattr(address_changes, "_open", lambda: told if is_told else None)
    monkeypatch.setattr(multicast, "RESCAN_S", 0.02)
    monkeypatch.setattr(multicast, "SETTLE_S", 0.1)
    addresses = [["127.0.0.1"]]
    monkeypatch.setattr(multicast, "multicast_addresses", lambda: addresses[-1])
    monkeypatch.setattr(mdns_module, "reachable_addresses", lambda host: addresses[-1])
    listener = air.listen()
    mdns = Mdns()
    announcer = MdnsAnnouncer(_node(air.mesh), "0.0.0.0", mdns)
    announcer.start()
    try:
        _until(lambda: [seen.addresses for seen in listener.seen.values()] == [("127.0.0.1",)])
        addresses.append(["127.0.0.1", "127.0.0.2"])
        system.send(b"an address")
        _until(lambda: [set(seen.addresses) for seen in listener.seen.values()] == [{"127.0.0.1", "127.0.0.2"}])
    finally:
        announcer.close()
        mdns.close()


def test_new_addresses_are_tried_until_they_can_be_bound(word: Word, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new IPv6 address cannot be at first, and that it can be is told without any change to be seen."""
    system, told = word
    tries: list[float] = []

    async def update(self: Zeroconf, interfaces: object) -> None:
        tries.append(time.monotonic())

    monkeypatch.setattr(address_changes, "_open", lambda: told)
    monkeypatch.setattr(address_changes, "_GATHER_S", 0.01)
    monkeypatch.setattr(multicast, "RESCAN_S", 0.02)
    monkeypatch.setattr(multicast, "SETTLE_S", 0.3)
    monkeypatch.setattr(multicast, "multicast_addresses", lambda: ["127.0.0.1"])
    monkeypatch.setattr(Zeroconf, "async_update_interfaces", update)
    mdns = Mdns()
    try:
        _until(lambda: tries and time.monotonic() > tries[-1] + 0.3)
        settled = len(tries)
        for _ in range(5):
            system.send(b"an address")
            _until(lambda settled=settled: len(tries) > settled)
            settled = len(tries)
        _until(lambda: tries[-1] > tries[settled - 1] + 0.1)
    finally:
        mdns.close()


def test_the_table_of_candidates_is_bounded(
    air: Air, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A flood of announcements fills the table and no more; those in it stay."""
    monkeypatch.setattr(mdns_module, "MAX_CANDIDATES", 2)
    listener, shared = air.listen(), air.shared()
    with caplog.at_level(logging.DEBUG, logger="meshq.discovery"):
        for _ in range(3):
            air.announce(_node(air.mesh), shared)
        _until(lambda: "2 services are known already" in caplog.text)
    # Other test runs on this host may take a place.
    assert len(listener.seen) <= 2
    assert len(listener.browser._known) == 2


def test_garbage_is_ignored(air: Air, caplog: pytest.LogCaptureFixture) -> None:
    """What a node would not announce leaves a line in the debug log, and nothing else."""
    from zeroconf.asyncio import AsyncServiceInfo

    listener = air.listen()
    mdns = air.shared()
    assert mdns.zeroconf is not None
    garbage = AsyncServiceInfo(
        SERVICE_TYPE, f"printer.{SERVICE_TYPE}", port=80, properties={"mesh": "?"}, server="printer.local.",
        parsed_addresses=["127.0.0.1"],
    )  # fmt: skip
    with caplog.at_level(logging.DEBUG, logger="meshq.discovery"):
        mdns.zeroconf.register_service(garbage, cooperating_responders=True)
        _until(lambda: "its name is not a node's id" in caplog.text)
    assert listener.seen == {}


def test_an_announcement_that_cannot_be_resolved_is_dropped(air: Air, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pointer to nothing costs one bounded attempt; a removal ends it early."""
    monkeypatch.setattr(mdns_module, "RESOLVE_MS", 50)
    listener = air.listen()
    browser = listener.browser
    _until(lambda: browser._browser is not None)
    assert browser._mdns is not None
    zeroconf = browser._mdns.zeroconf
    assert zeroconf is not None
    assert zeroconf.loop is not None
    name = service_name_of(uuid.uuid4().hex)

    async def flap() -> int:
        for change in (ServiceStateChange.Added, ServiceStateChange.Removed, ServiceStateChange.Added):
            browser._changed(zeroconf, SERVICE_TYPE, name, change)
        return len(browser._resolving)

    assert asyncio.run_coroutine_threadsafe(flap(), zeroconf.loop).result(5) == 1
    _until(lambda: not browser._resolving)
    assert (listener.seen, listener.gone) == ({}, [])


def _properties(node: Candidate, **changes: str | bytes) -> dict[bytes, bytes | None]:
    text = encode_properties(node) | changes
    return {key.encode(): value.encode() if isinstance(value, str) else value for key, value in text.items()}


def test_an_announcement_is_small_and_read_back() -> None:
    """Names of any length and alphabet leave TXT under 400 bytes, and what is read is what was written."""
    node = _node("mesh", name="ä" * 200, host="h" * 253, port=65535, control_port=65535, incarnation=2**62)
    properties = _properties(node)
    assert sum(len(key) + len(value or b"") + 2 for key, value in properties.items()) < 400
    read = decode_candidate(service_name_of(node.instance), node.port, ("10.0.0.5",), properties)
    assert read == node._replace(name="ä" * 32, host="h" * 64, addresses=("10.0.0.5",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "0" * 32}, {"mesh": ""}, {"mesh": "x" * 16}, {"key": "short"}, {"control": "0"},
        {"control": "65536"}, {"control": "1e3"}, {"control": "٣"}, {"name": "\x1b[2J"}, {"name": "n" * 65},
        {"host": b"\xff"}, {"version": "<b>"}, {"incarnation": "-1"}, {"incarnation": "9" * 20},
    ],
)  # fmt: skip
def test_wrong_properties_are_refused(wrong: dict[str, str | bytes]) -> None:
    """Whatever is out of shape makes it no announcement; a UnicodeDecodeError is a ValueError too."""
    node = _node("mesh")
    with pytest.raises(ValueError):
        decode_candidate(service_name_of(node.instance), 7700, node.addresses, _properties(node, **wrong))


@pytest.mark.parametrize("port", [None, 0, 65536])
def test_a_wrong_port_is_refused(port: int | None) -> None:
    """The SRV record is no more to be trusted than TXT."""
    node = _node("mesh")
    with pytest.raises(ValueError):
        decode_candidate(service_name_of(node.instance), port, node.addresses, _properties(node))


def test_loopback_addresses_of_other_hosts_are_left_out() -> None:
    """They would lead to this host; and no node is dialled at more than a few addresses."""
    node = _node("mesh", host="another host")
    name, properties = service_name_of(node.instance), _properties(node)
    read = decode_candidate(name, 7700, ["127.0.0.1", "10.0.0.5", "::1"], properties)
    assert read.addresses == ("10.0.0.5",)
    with pytest.raises(ValueError, match="no address"):
        decode_candidate(name, 7700, ["127.0.0.1"], properties)
    many = [f"10.0.0.{number}" for number in range(200)]
    assert len(decode_candidate(name, 7700, many, properties).addresses) == 16
