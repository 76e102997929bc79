"""The bytes of version 1 of the wire, as recorded: they are understood, and sent, as long as it is spoken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import wire1_files
from wire1_files import all_names, now, recordings, write
from wire1_messages import MESSAGES, Recorded
from wire1_payloads import FORMS, PAYLOADS, alike

from meshq.protocol.envelope import decode
from meshq.protocol.messages import MESSAGE_OF_VERB, Part, Result, Status, Submit
from meshq.protocol.parts import Joiner
from meshq.protocol.payload import join_payload

DELIBERATE = "if the change is wanted, and older peers bear it: python tests/wire1/record_wire1.py"


def read(recording: wire1_files.Recording, recorded: Recorded) -> list[Any]:
    """Return the messages of a recording, payloads joined; all have the header of the case."""
    joiner, got = Joiner(), []
    for frames in recording:
        incoming = decode(frames, joiner)
        assert (incoming.header, incoming.unknown) == (recorded.header, [])
        got += map(joined, incoming.messages)
    return got


def joined(message: Any) -> Any:
    """Return a message with its payload in one."""
    carries = isinstance(message, Submit | Result)
    return message._replace(payload=join_payload(message.payload)) if carries else message


@pytest.mark.parametrize("name", MESSAGES)
def test_recorded_messages_are_understood(name: str) -> None:
    """Each recording of a case means what it meant when it was made: nodes of that time are still in use."""
    found = recordings(name, "frames")
    assert found, f"nothing was recorded of {name}: {DELIBERATE}"
    for recording in found.values():
        got, meant = read(recording, MESSAGES[name]), list(map(joined, MESSAGES[name].messages))
        assert sorted(got, key=repr) == sorted(meant, key=repr)
        assert set(map(type, got)) == set(map(type, meant))


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_are_sent_as_they_were_recorded_last(name: str) -> None:
    """Byte by byte, so that no change of what peers are sent goes unnoticed."""
    assert now(name, "frames") == list(recordings(name, "frames").values())[-1], DELIBERATE


@pytest.mark.parametrize("name", PAYLOADS)
def test_recorded_payloads_are_understood(name: str) -> None:
    """Arguments, results and failures that another release has encoded."""
    recorded = PAYLOADS[name]
    found = recordings(name, "payload")
    assert found, f"nothing was recorded of {name}: {DELIBERATE}"
    for recording in found.values():
        assert alike(recorded.meaning, FORMS[recorded.form].load(recording[0][0]))


@pytest.mark.parametrize("name", [name for name, recorded in PAYLOADS.items() if recorded.ours])
def test_payloads_are_made_as_they_were_recorded_last(name: str) -> None:
    """An older release has to read them."""
    assert now(name, "payload") == list(recordings(name, "payload").values())[-1], DELIBERATE


def test_all_that_is_said_is_recorded() -> None:
    """Each message by its verb, and each status; and no recording is left without its case."""
    said = [message for recorded in MESSAGES.values() for message in recorded.messages]
    unrecorded = {cls.__name__ for cls in MESSAGE_OF_VERB.values()} - {type(message).__name__ for message in said}
    assert unrecorded == {Part.__name__}, f"add cases to wire1_messages.py, then {DELIBERATE}"
    assert {message.status for message in said if isinstance(message, Result)} == set(Status)
    cut = [recording for name in MESSAGES for recording in recordings(name, "frames").values()]
    assert max(len(frames) for recording in cut for frames in recording) > 3  # payloads in pieces are among them
    assert all_names() == {f"{name}.frames" for name in MESSAGES} | {f"{name}.payload" for name in PAYLOADS}


def test_nothing_is_recorded_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded stays as it was; any bytes can be written down and read again."""
    monkeypatch.setattr(wire1_files, "RECORDED", tmp_path)
    recording = [[b"", b"a" * 30 + b"bc" + bytes(9), b"\x00"], [b"x" * 9, b"y", b"zz"]]
    path = write("case", "frames", 1, recording)
    assert recordings("case", "frames") == {1: recording}
    with pytest.raises(FileExistsError):
        write("case", "frames", 1, [[b"other"]])
    assert path.read_text() == "-\n61*30 6263 00*9\n00\n\n78*9\n79\n7a7a\n"
