"""Ids: unlike each other, also after a fork, and readable from anything that is a UUID."""

from __future__ import annotations

import os
import uuid

import pytest

from meshq.errors import ConfigError
from meshq.ids import ID_BYTES, format_id, new_id, new_task_id, parse_task_id


def test_new_ids_differ() -> None:
    """Ids never repeat within a process, and all have 16 bytes."""
    ids = {new_task_id() for _ in range(10_000)} | {new_id() for _ in range(100)}
    assert len(ids) == 10_100
    assert {len(one) for one in ids} == {ID_BYTES}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_other_ids() -> None:
    """After a fork parent and child go on with prefixes of their own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, new_task_id())
        os._exit(0)
    os.close(write)
    theirs = os.read(read, ID_BYTES)
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert theirs[:10] != new_task_id()[:10]


@pytest.mark.parametrize("spell", [str, lambda u: u.hex, lambda u: u.urn, lambda u: f"{{{u}}}", lambda u: u.bytes])
def test_task_ids_are_read_from_anything_that_is_one(spell: object) -> None:
    """With dashes or without, as text, bytes or UUID: it is the same task."""
    one = uuid.uuid4()
    assert parse_task_id(spell(one)) == parse_task_id(one) == one.bytes  # type: ignore[operator]


@pytest.mark.parametrize("wrong", ["", "xyz", b"short", "0" * 31, None, 5])
def test_what_is_no_task_id_is_refused(wrong: object) -> None:
    """The error names the value and what an id looks like."""
    with pytest.raises(ConfigError, match="is not a task id: give 32 hexadecimal digits"):
        parse_task_id(wrong)  # type: ignore[arg-type]


def test_format_and_parse_are_inverse() -> None:
    """What is shown to people can be typed back."""
    task = new_task_id()
    assert parse_task_id(format_id(task)) == task
    assert str(uuid.UUID(bytes=task)) == format_id(task)
