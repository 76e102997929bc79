"""The pickle serializer."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from meshq.errors import EncodingError, RemoteProtocolError
from meshq.protocol import pickling
from meshq.protocol.codec import dumps_call, loads_call, serializer
from meshq.protocol.payload import join_payload

PICKLE = serializer("pickle")


@dataclass
class Record:
    field: object


def test_values_of_any_class_arrive() -> None:
    """What msgpack refuses, pickle carries."""
    call = (Record((1, {2})), Record)
    assert loads_call(PICKLE, dumps_call(PICKLE, call, {"r": Record(3)})) == (call, {"r": Record(3)})


def test_large_buffers_travel_beside_the_pickle() -> None:
    """Arrays are neither copied on the way out nor, from one writable buffer, on the way in."""
    sent = np.arange(100_000.0)
    payload = PICKLE.dumps(Record([sent, sent[:10]]), "result")
    assert isinstance(payload, list)
    assert any(np.shares_memory(np.frombuffer(part, "u1"), sent) for part in payload)
    arrived = bytearray(join_payload(payload))
    got = PICKLE.loads(arrived).field
    assert np.array_equal(got[0], sent)
    assert np.array_equal(got[1], sent[:10])
    assert np.shares_memory(got[0], np.frombuffer(arrived, "u1"))


def test_an_array_from_bytes_is_writable() -> None:
    """A task may change its argument, in whatever form the payload came."""
    payload = join_payload(PICKLE.dumps(np.arange(100_000.0), "result"))
    assert PICKLE.loads(payload).flags.writeable


def test_functions_without_a_name_go_with_cloudpickle() -> None:
    """A lambda or a closure travels by its code where cloudpickle is installed."""
    factor = 3
    assert PICKLE.loads(PICKLE.dumps(lambda x: x * factor, "argument"))(2) == 6


def test_what_a_script_defines_travels_by_value(tmp_path: Path) -> None:
    """A class of __main__ can be read in a process with another __main__."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from meshq.protocol.codec import serializer\n"
        "class Local:\n"
        "    def value(self): return 42\n"
        "sys.stdout.buffer.write(serializer('pickle').dumps(Local(), 'argument'))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, check=True)
    assert PICKLE.loads(done.stdout).value() == 42


@pytest.mark.parametrize("cloudpickle", [True, False])
def test_what_cannot_be_pickled_is_named(monkeypatch: pytest.MonkeyPatch, cloudpickle: bool) -> None:
    """A generator, and without cloudpickle a lambda too, is refused with its place."""
    if not cloudpickle:
        monkeypatch.setattr(pickling, "_cloudpickle", lambda: None)
    value = (item for item in ()) if cloudpickle else lambda: None
    with pytest.raises(EncodingError, match=r"^argument 2 \['x'\] is a .*, which pickle can't carry"):
        dumps_call(PICKLE, (1, {"x": value}), {})


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"\x80\x05",
        b"cno_such_module\nname\n.",
        b"\xc1\x00\x00\x00\x01\x01",
        b"\xc1\x00\x00\x00\x03\x92\x01\x90",
    ],
)
def test_a_malformed_pickle_is_a_remote_protocol_error(payload: bytes) -> None:
    """What does not unpickle here, for whatever reason, is one error."""
    with pytest.raises(RemoteProtocolError):
        PICKLE.loads(payload)
