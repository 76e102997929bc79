"""The connections of a client: a DEALER for each link, with what waits to be sent over it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import zmq

from meshq.errors import ConfigError, RemoteProtocolError
from meshq.protocol.envelope import Frames, Header, Outbox, UnsupportedVersion, decode
from meshq.protocol.messages import GREETING_VERSION, Hello, HelloAck, Message
from meshq.protocol.parts import Joiner
from meshq.protocol.payload import Buffer
from meshq.protocol.versions import StrangeVerbs, refuse_node
from meshq.transport.dealer import Dealer
from meshq.transport.keys import MeshKey
from meshq.transport.loop import Loop
from meshq.transport.monitor import REFUSED
from meshq.transport.taking import take

log = logging.getLogger("meshq.transport")

COMPANY = 16
"""So many patient messages go along with others; fewer wait on. One acknowledgement in each message cost a round
trip 10 µs, most of it at the node; many together cost a tenth of that each."""


class Link:
    """One connection to a node: the socket, what is packed for it, and what has come of large payloads."""

    def __init__(self, number: int, endpoint: str, source: bytes, gathers: bool = False) -> None:
        self.number = number
        self.endpoint = endpoint
        self._source = source
        self._gathers = gathers
        self.known = Header(source)
        """That of messages to whoever has answered last."""
        self.dealer: Dealer | None = None
        self.greeting = 0
        """How many connections were begun: the number of the latest HELLO."""
        self.greet()

    def greet(self) -> None:
        """Begin a connection anew: nothing of the old one is continued."""
        self.greeting += 1
        self.outbox = Outbox(Header(self._source))
        self.joiner = Joiner(gathers=self._gathers)
        self.strange = StrangeVerbs()
        self.unsent: Frames | None = None
        self.blocked = False
        self.patient: list[Message] = []
        """What has time to wait for others like it."""
        self.patient_tasks: set[bytes] = set()
        """The tasks that it is about."""
        self.has_company = False
        """Whether they go along with the next that are not patient."""
        self._early: list[Message] | None = []
        """What is to go out once HELLO is answered: before that, the node takes it for a stranger's."""

    def add(self, messages: Sequence[Message]) -> None:
        """Queue messages; before HELLO is answered they wait."""
        if self._early is not None:
            self._early.extend(messages)
            return
        self.outbox.extend(messages)

    def add_patient(self) -> None:
        """Queue the patient messages too."""
        messages, self.patient = self.patient, []
        self.patient_tasks.clear()
        self.has_company = False
        self.add(messages)

    def is_of_the_same(self, messages: Sequence[Message]) -> bool:
        """Whether any of these is about a task that the patient ones are about."""
        tasks = self.patient_tasks  # of those without one, b""
        for message in messages:  # a generator would take longer than all the rest
            if getattr(message, "task", None) in tasks:
                break
        else:
            return False
        return True

    def address(self, node: bytes, incarnation: int, version: int = GREETING_VERSION) -> None:
        """Say in each message from now on which node it is for, and which life of it, in the version agreed."""
        header = Header(self._source, node, incarnation)
        self.outbox.address(header)
        self.outbox.speak(version)
        early, self._early = self._early, None
        if early and header == self.known:  # else it was meant for who answered before
            self.add(early)
        self.known = header


class Links:
    """All connections of one lane of a client, flushed once a turn of the loop.

    ``on_dealt_with`` is told how many messages have been passed on, once nothing here refers to them any more.
    ``gathers`` says that large payloads end here, instead of being passed on; ``keeps`` is for ``Dealer``.
    """

    def __init__(
        self,
        loop: Loop,
        context: zmq.Context[zmq.Socket[bytes]],
        key: MeshKey | None,
        hello: Hello,
        on_messages: Callable[[int, list[Message]], None],
        on_event: Callable[[int, str, str], None],
        on_dealt_with: Callable[[int], None] | None = None,
        *,
        gathers: bool = False,
        keeps: bool = False,
    ) -> None:
        self._loop = loop
        self._context = context
        self._key = key
        self._hello = hello
        self._on_messages = on_messages
        self._on_event = on_event
        self._on_dealt_with = on_dealt_with
        self._gathers = gathers
        self._keeps = keeps
        self._links: dict[int, Link] = {}
        self.dirty: set[int] = set()
        """Those on which something waits that is not patient."""

    def dial(self, number: int, endpoint: str) -> None:
        """Connect a new link; one that cannot be dialled is told of as refused, in the loop's next turn."""
        link = self._links[number] = Link(number, endpoint, self._hello.client, self._gathers)
        try:
            link.dealer = Dealer(
                self._loop,
                self._context,
                endpoint,
                self._key,
                lambda _, frames: self._take_in(link, frames),
                lambda _, event, text: self._on_event(number, event, text),
                keeps=self._keeps,
            )
        except ConfigError as error:
            self._loop.post(self._fail, link, str(error))
        except zmq.ZMQError as error:  # this process has as many sockets open as it may
            self._loop.post(self._fail, link, f"{endpoint} cannot be dialled: {error.strerror}")

    def _fail(self, link: Link, text: str) -> None:
        if self._links.get(link.number) is link:  # it may have been hung up meanwhile
            log.warning("%s", text)
            self._on_event(link.number, REFUSED, text)

    def is_dialled(self, number: int) -> bool:
        """Whether there is such a link, and it could be dialled."""
        link = self._links.get(number)
        return link is not None and link.dealer is not None

    def catch_up(self, number: int) -> None:
        """Pass on what has come over a link by now, without waiting for the loop to find it."""
        link = self._links.get(number)
        if link is not None and link.dealer is not None:
            link.dealer.take_in()

    def hang_up(self, number: int) -> None:
        """Close a link, with all that waits on it."""
        link = self._links.pop(number, None)
        self.dirty.discard(number)
        if link is not None and link.dealer is not None:
            link.dealer.close()

    def greet(self, number: int) -> None:
        """Say HELLO on a link that has just been connected."""
        link = self._links.get(number)
        if link is not None:
            link.greet()
            link.outbox.add(self._hello._replace(greeting=link.greeting))
            self.dirty.add(number)

    def address(self, number: int, ack: HelloAck) -> None:
        """Address what is sent over the link from now on to who has answered, in the version that it names."""
        link = self._links.get(number)
        if link is not None:
            link.address(ack.node, ack.incarnation, ack.version)
            self.dirty.add(number)

    def send_patient(self, number: int, messages: Sequence[Message], pressing: bool) -> None:
        """Queue messages for a link that have time; ``flush`` sends few of them only when told to.

        ``pressing`` ones go with the next that have no time, together with all that wait.
        """
        link = self._links.get(number)
        if link is None:
            return
        link.patient += messages
        for message in messages:
            link.patient_tasks.add(getattr(message, "task", b""))
        link.has_company = link.has_company or pressing or len(link.patient) >= COMPANY

    def send(self, number: int, messages: Sequence[Message]) -> None:
        """Queue messages for a link; ``flush`` sends them."""
        link = self._links.get(number)
        if link is None:
            return
        if link.patient and (link.has_company or link.is_of_the_same(messages)):
            link.add_patient()  # first: what is said of one task stays in its order
        link.add(messages)
        self.dirty.add(number)

    def flush(self, *, all: bool = False) -> None:
        """Send what waits, as far as the sockets take it; with ``all`` the patient messages too, however few."""
        if all:
            self.dirty.update(number for number, link in self._links.items() if link.patient)
        while self.dirty:
            number = self.dirty.pop()
            link = self._links[number]
            if all or link.has_company:
                link.add_patient()
            if not link.blocked:
                self._flush(link)

    def _flush(self, link: Link) -> None:
        dealer = link.dealer
        if dealer is None:  # it could not be dialled
            return
        while (frames := link.unsent or take(link.outbox, link.endpoint)) is not None:
            if not dealer.send(frames):
                link.unsent, link.blocked = frames, True
                dealer.want_write(lambda _: self._unblock(link))
                return
            link.unsent = None
            if not link.outbox:
                return

    def _unblock(self, link: Link) -> None:
        link.blocked = False
        self.dirty.add(link.number)

    def _take_in(self, link: Link, frames: Sequence[Buffer]) -> None:
        count = self._receive(link, frames)
        if count and self._on_dealt_with is not None:
            self._on_dealt_with(count)

    def _receive(self, link: Link, frames: Sequence[Buffer]) -> int:
        """Pass on what is in a message of the wire; return how many messages these are."""
        if link.number not in self._links:
            return 0
        try:
            incoming = decode(frames, link.joiner)
        except UnsupportedVersion as error:
            self._on_messages(link.number, [refuse_node(error.version)])
            return 0
        except RemoteProtocolError as error:
            log.warning("dropped a message from %s: %s", link.endpoint, error)
            return 0
        messages = incoming.of(link.known, link.greeting)
        if messages is None:
            return 0
        if incoming.unknown:
            self.send(link.number, link.strange.refuse(incoming.unknown))
        # A piece of a large payload is no message yet, but a sign of life.
        self._on_messages(link.number, messages)
        return len(messages)

    def close(self) -> None:
        """Close all links."""
        for number in list(self._links):
            self.hang_up(number)
