"""Large payloads in pieces, so that nothing small has to wait behind them.

A payload above ``INLINE_BYTES`` travels as PARTs of at most ``PIECE_BYTES``, each a frame of its own, and
then the message that refers to it by its transfer number. Pieces that are lost with a connection are not
asked for: the message that refers to them is dropped as lost too, and whoever sent it sends it again.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshq.errors import RemoteProtocolError
from meshq.protocol.attachments import is_before_area, is_one_bytes
from meshq.protocol.blocks import Gathered, blank_bytes, block
from meshq.protocol.messages import Part
from meshq.protocol.payload import Buffer, Payload, cut_payload, payload_size

INLINE_BYTES = 16 * 1024
PIECE_BYTES = 1024 * 1024
MAX_PAYLOAD_BYTES = 4 * 1024**3
# The threat: a peer that fills the memory with payloads it never ends. This is room for one payload of the largest
# size, and a quarter of that for others meanwhile; a peer that announces more loses its oldest transfers.
UNFINISHED_BYTES = MAX_PAYLOAD_BYTES + MAX_PAYLOAD_BYTES // 4
# A peer could otherwise open transfers without end, at no cost to itself.
UNFINISHED_TRANSFERS = 1024


def cut(transfer: int, payload: Payload) -> Iterator[Part]:
    """Yield the payload as PARTs, in order, without copying it."""
    offset, total = 0, payload_size(payload)
    for piece in cut_payload(payload, PIECE_BYTES):
        yield Part(transfer, offset, total, piece)
        offset += len(piece)


class _Transfer:
    __slots__ = ("gathers", "pieces", "received", "room", "total")

    def __init__(self, total: int, gathers: bool) -> None:
        self.pieces: list[Buffer] = []
        self.room: memoryview | None = None
        """Where the rest of the area goes, once it is known where it begins."""
        self.received = 0
        self.total = total
        self.gathers = gathers

    def add(self, data: Buffer) -> None:
        """Keep the next piece, or a copy of it in its place in the area, where that comes in several."""
        pieces, missing = self.pieces, self.total - self.received
        if self.gathers and len(pieces) == 1 and len(data) < missing and is_before_area(pieces[0]):
            self._gather(pieces[0], missing)
        self.received += len(data)
        if self.room is None:
            pieces.append(data)
        else:
            self.room[: len(data)] = data
            self.room = self.room[len(data) :]

    def _gather(self, head: Buffer, size: int) -> None:
        """Make room for the area, unless a peer has announced more than there is; it is then kept as it comes."""
        try:
            blank = blank_bytes(size) if is_one_bytes(head, size) else None
            self.room = memoryview(block(size)) if blank is None else blank[1]
        except MemoryError:
            self.gathers = False
            return
        self.pieces = Gathered((head, self.room if blank is None else blank[0]))


class Joiner:
    """Puts the pieces of one connection together again.

    One that ``gathers`` is for whom payloads end at: it copies the pieces of an area into one block as they come,
    where they would be copied in the end, so that this overlaps with the coming of the others. It takes 1 ms of an
    echo of 8 MB, which takes 10 ms.
    """

    def __init__(self, budget: int = UNFINISHED_BYTES, gathers: bool = False) -> None:
        self._budget = budget
        self._gathers = gathers
        self._transfers: dict[int, _Transfer] = {}
        self._announced = 0

    def feed(self, part: Part) -> None:
        """Take a piece; one that does not follow on the last drops its whole transfer."""
        if not 0 <= part.total <= MAX_PAYLOAD_BYTES or len(part.data) > PIECE_BYTES:
            raise RemoteProtocolError(f"a part of {len(part.data)} bytes of {part.total} is over the limit")
        if not len(part.data) and part.total:
            raise RemoteProtocolError("a part is empty, of which a peer could send any number")
        if part.offset == 0:
            self._open(part)
        transfer = self._transfers.get(part.transfer)
        if transfer is None:
            return
        received = transfer.received + len(part.data)
        if part.offset != transfer.received or part.total != transfer.total or received > transfer.total:
            self._drop(part.transfer)
            return
        transfer.add(part.data)

    def take(self, number: int) -> list[Buffer] | None:
        """Return the whole payload of a transfer, or None where pieces of it are missing."""
        transfer = self._transfers.get(number)
        if transfer is None:
            return None
        self._drop(number)
        return transfer.pieces if transfer.received == transfer.total else None

    def _open(self, part: Part) -> None:
        self._drop(part.transfer)
        self._transfers[part.transfer] = _Transfer(part.total, self._gathers)
        self._announced += part.total
        while self._announced > self._budget or len(self._transfers) > UNFINISHED_TRANSFERS:
            self._drop(next(iter(self._transfers)))

    def _drop(self, number: int) -> None:
        transfer = self._transfers.pop(number, None)
        if transfer is not None:
            self._announced -= transfer.total
