"""The files of recorded bytes: one frame a line, in hex, ``61*20000`` for a byte that repeats.

``NAME.1.frames`` holds the messages of the wire that a case became, with a blank line between them, and
``NAME.1.payload`` one payload. What a case becomes later, since a field was added, is in ``NAME.2.frames``; what
was recorded once stays.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from wire1_messages import MESSAGES, Recorded
from wire1_payloads import PAYLOADS, payload_bytes

from meshq.protocol.envelope import Outbox

RECORDED = Path(__file__).parent / "recorded"
_FEW = 8
"""So many equal bytes in a row are written out."""

Recording = list[list[bytes]]
"""The frames of each message of the wire; those of a payload are itself."""


def frames_now(recorded: Recorded) -> Recording:
    """Return what is sent for a case today."""
    outbox = Outbox(recorded.header)
    for message in recorded.messages:
        outbox.add(message)
    return [[bytes(frame) for frame in frames] for frames in iter(outbox.take, None)]


def recordings(name: str, kind: str) -> dict[int, Recording]:
    """Return what was recorded of a case, by its number; the highest is the latest."""
    found = {}
    for path in RECORDED.glob(f"{name}.*.{kind}"):
        number = path.name.removeprefix(f"{name}.").removesuffix(f".{kind}")
        found[int(number)] = _read(path.read_text())
    return dict(sorted(found.items()))


def all_names() -> set[str]:
    """Return the cases of which something was recorded, as NAME.KIND."""
    return {re.sub(r"\.\d+\.", ".", path.name) for path in RECORDED.iterdir()}


def now(name: str, kind: str) -> Recording:
    """Return what a case becomes today."""
    return frames_now(MESSAGES[name]) if kind == "frames" else [[payload_bytes(PAYLOADS[name])]]


def write(name: str, kind: str, number: int, recording: Recording) -> Path:
    """Write a recording; raises ``FileExistsError`` rather than write over one."""
    path = RECORDED / f"{name}.{number}.{kind}"
    with path.open("x") as file:
        file.write("\n\n".join("\n".join(map(_line, message)) for message in recording) + "\n")
    return path


def _line(frame: bytes) -> str:
    words: list[str] = []
    for byte, run in groupby(frame):
        count = sum(1 for _ in run)
        if count > _FEW:
            words += [f"{byte:02x}*{count}", ""]
        elif words:
            words[-1] += f"{byte:02x}" * count
        else:
            words = [f"{byte:02x}" * count]
    return " ".join(word for word in words if word) or "-"


def _read(text: str) -> Recording:
    return [[_frame(line) for line in message.splitlines()] for message in text.strip().split("\n\n")]


def _frame(line: str) -> bytes:
    frame = bytearray()
    for word in line.replace("-", "").split():
        digits, _, count = word.partition("*")
        frame += bytes.fromhex(digits) * int(count or 1)
    return bytes(frame)
