"""The process for control commands of users: its answers, and what becomes of those that take too long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import meshq
from meshq.errors import ConfigError
from meshq.node import helper as module
from meshq.node.helper import Helper
from meshq.transport.loop import Loop
from meshq.workers.pool import WorkerSpec

OPS = """
import os, time
from meshq import control_command, task

@control_command
def ident(**given):
    return {"pid": os.getpid(), **given}

@control_command
async def later(seconds):
    import asyncio
    await asyncio.sleep(seconds)
    return "later"

@control_command
def fail(text):
    print("about to fail")
    raise LookupError(text)

@control_command
def hang(path=""):
    if path:
        open(path, "w").close()
    time.sleep(600)

@control_command
def vanish():
    os._exit(7)

@control_command
def thing():
    return object()

@control_command
def much(count):
    return "x" * count

class Odd(Exception):
    pass

@control_command
def odd():
    raise Odd("very")

@task
def not_a_command():
    pass
"""
NAMES = frozenset({"ident", "later", "fail", "hang", "vanish", "thing", "much", "odd"})
LONG_S = 20.0


class Desk:
    """A helper on a loop of its own, and who asks it."""

    def __init__(self, directory: Path, text: str = OPS) -> None:
        (directory / "ops.py").write_text(text)
        package = str(Path(meshq.__file__).parents[1])
        self.loop = Loop()
        self.lines: list[str] = []
        spec = WorkerSpec(["ops"], path=[str(directory)], env={"PYTHONPATH": package})
        self.helper = Helper(self.loop, spec, lambda *line: self.lines.append(line[2]))
        self.helper.offer(NAMES)

    def ask(self, name: str, seconds: float = LONG_S, **arguments: Any) -> list[dict[str, Any]]:
        """Ask for a command; return the list in which its answer will be."""
        answers: list[dict[str, Any]] = []
        self.helper.carry_out(name, arguments, seconds, answers.append, time.monotonic())
        return answers

    def until(self, condition: Callable[[], Any]) -> None:
        """Turn the loop until the condition holds."""
        end_at = time.monotonic() + LONG_S
        while not condition():
            assert time.monotonic() < end_at, "it did not come to pass"
            self.loop.turn(0.01)
            due = self.helper.next_deadline()
            if due is not None and due <= time.monotonic():
                self.helper.tick(time.monotonic())

    def call(self, name: str, seconds: float = LONG_S, **arguments: Any) -> dict[str, Any]:
        """Carry out a command; return its answer."""
        answers = self.ask(name, seconds, **arguments)
        self.until(lambda: answers)
        (answer,) = answers
        return answer


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A helper that nobody has asked anything yet."""
    made = Desk(tmp_path)
    yield made
    made.helper.close()
    made.loop.close()


def test_commands_are_carried_out_one_after_the_other_in_one_process(desk: Desk) -> None:
    """It starts with the first, and is not this one; arguments arrive by name."""
    assert desk.helper._pool.pid(0) is None
    answers = [desk.ask("ident", number=number, text="x") for number in range(5)]
    desk.until(lambda: all(answers))
    values = [answer["ok"] for (answer,) in answers]
    assert [value["number"] for value in values] == list(range(5))
    assert {value["pid"] for value in values} == {desk.helper._pool.pid(0)} != {os.getpid()}
    assert desk.call("later", seconds=LONG_S) == {
        "error": "TypeError: later() missing 1 required positional argument: 'seconds'"
    }
    assert desk.helper.next_deadline() is None


def test_an_async_command_is_awaited(desk: Desk) -> None:
    """As an async task is."""
    answers: list[dict[str, Any]] = []
    desk.helper.carry_out("later", {"seconds": 0.01}, LONG_S, answers.append, time.monotonic())
    desk.until(lambda: answers)
    assert answers == [{"ok": "later"}]


def test_what_a_command_raises_is_its_answer(desk: Desk) -> None:
    """With the name of the type, whether that is known here or not; what it prints goes to the log."""
    assert desk.call("fail", text="no such room") == {"error": "LookupError: no such room"}
    assert desk.call("odd") == {"error": "ops.Odd: very"}
    assert "about to fail" in desk.lines


@pytest.mark.parametrize(("name", "arguments"), [("thing", {}), ("much", {"count": 17 * 1024**2})])
def test_a_value_that_cannot_be_sent_is_an_error(desk: Desk, name: str, arguments: dict[str, Any]) -> None:
    """Which says why, and the helper goes on."""
    error = desk.call(name, **arguments)["error"]
    assert "plain data" in error or "more than can be sent" in error
    assert "ok" in desk.call("ident")


def test_an_unknown_name_is_an_error_that_lists_the_known_ones(desk: Desk) -> None:
    """Those of every node, and those of the modules; no process is started for it."""
    with pytest.raises(ConfigError, match=r"'reload'; there are active, .*; those of its modules are fail, hang"):
        desk.ask("reload")
    with pytest.raises(ConfigError, match="'not_a_command'"):
        desk.ask("not_a_command")
    desk.helper.offer(frozenset())
    with pytest.raises(ConfigError, match="its modules have none"):
        desk.ask("ident")
    assert desk.helper._pool.pid(0) is None


def test_a_command_that_takes_too_long_is_killed_and_those_behind_it_go_on(desk: Desk) -> None:
    """Its asker hears of it just before giving up; the next ones run in a new process."""
    first = desk.call("ident")["ok"]["pid"]
    began_at = time.monotonic()
    hanging, behind = desk.ask("hang", 0.5), desk.ask("ident")
    desk.until(lambda: hanging)
    assert time.monotonic() - began_at < 0.5
    assert hanging[0]["error"] == (
        "the control command hang has not ended within 0.5 s, and was killed: ask with a longer timeout"
    )
    desk.until(lambda: behind)
    assert behind[0]["ok"]["pid"] != first


def test_a_command_that_is_not_reached_in_time_is_answered_and_never_run(desk: Desk, tmp_path: Path) -> None:
    """The one in front of it goes on."""
    slow = desk.ask("later", 5.0, seconds_=1)
    desk.until(lambda: slow)  # the process is there
    mark = tmp_path / "mark"
    front = desk.ask("hang", 1.0)
    behind = desk.ask("hang", 0.2, path=str(mark))
    desk.until(lambda: behind)
    assert behind[0]["error"] == "the control command hang was not reached within 0.2 s, behind hang, which runs"
    assert not front
    desk.until(lambda: front)
    assert "ok" in desk.call("ident")
    assert not mark.exists()


def test_a_command_whose_time_went_by_behind_others_is_told_so(desk: Desk) -> None:
    """It is killed when its time is over, but it was not the one that took long."""
    assert "ok" in desk.call("ident")
    front: list[dict[str, Any]] = []
    desk.helper.carry_out("later", {"seconds": 1.0}, LONG_S, front.append, time.monotonic())
    behind = desk.ask("hang", 2.0)
    desk.until(lambda: behind)
    assert front == [{"ok": "later"}]
    error = behind[0]["error"]
    assert "hang did not get its turn in time: it waited behind others for 1." in error
    assert error.endswith(" of its 2 s, and was killed")


def test_those_whose_time_is_over_together_are_told_of_the_one_that_ran(desk: Desk) -> None:
    """Not of the process that is to be started next."""
    assert "ok" in desk.call("ident")
    front, behind = desk.ask("hang", 1.0), desk.ask("ident", 1.0)
    desk.helper.tick(time.monotonic() + 1.0)
    assert "and was killed" in front[0]["error"]
    assert "ident was not reached within 1 s, behind hang, which runs" in behind[0]["error"]


def test_a_command_that_takes_its_process_with_it(desk: Desk) -> None:
    """It is told so, and the next one finds a new process."""
    assert desk.call("vanish") == {"error": "the control command vanish took its process with it: exit code 7"}
    assert "ok" in desk.call("ident")


def test_a_process_that_dies_idle_is_replaced_at_need(desk: Desk) -> None:
    """Not before."""
    pid = desk.call("ident")["ok"]["pid"]
    os.kill(pid, 9)
    desk.until(lambda: desk.helper._pool.pid(0) is None)
    assert desk.call("ident")["ok"]["pid"] != pid


def test_modules_that_cannot_be_loaded_are_everybodys_error(tmp_path: Path) -> None:
    """All that wait hear of it; the next command tries again."""
    desk = Desk(tmp_path, "raise RuntimeError('broken today')")
    try:
        answers = [desk.ask("ident"), desk.ask("ident")]
        desk.until(lambda: all(answers))
        assert all("broken today" in answer["error"] for (answer,) in answers)
        (tmp_path / "ops.py").write_text(OPS)
        assert "ok" in desk.call("ident")
    finally:
        desk.helper.close()
        desk.loop.close()


def test_no_more_wait_than_there_is_room_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes then is refused at once."""
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    answers = [desk.ask("ident"), desk.ask("ident")]
    with pytest.raises(ConfigError, match="2 control commands wait already, behind the start of their process"):
        desk.ask("ident")
    desk.until(lambda: all(answers))


def test_an_answer_that_comes_after_its_time_is_dropped(desk: Desk) -> None:
    """The asker was told something else already."""
    answers = desk.ask("ident", 0.0)
    desk.helper.tick(time.monotonic())
    assert "error" in answers[0]
    assert "ok" in desk.call("ident")
    assert len(answers) == 1
