"""What tasks print."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from workers_harness import Node

from meshq.ids import format_id


def tagged(node: Node, run: int) -> list[tuple[str, str]]:
    """Return the stream and text of the lines of a run's task."""
    return [(stream, line) for task, stream, line, _ in node.lines if task == format_id(run.to_bytes(16, "big"))]


def test_each_line_carries_the_id_of_its_task(node: Node) -> None:
    """Lines of tasks in one batch have the id of their own task, unfinished ones too."""
    runs = [
        node.make("say", "one", "two"),
        node.make("say", "three", "four", end=" "),
        node.make("say", "oh", err=True),
        node.make("say", "grün\nblau"),
    ]
    numbers = node.run(runs)
    node.until(lambda: len(node.dones()) == 4)
    assert [tagged(node, number) for number in numbers] == [
        [("stdout", "one"), ("stdout", "two")],
        [("stdout", "three four ")],
        [("stderr", "oh")],
        [("stdout", "grün"), ("stdout", "blau")],
    ]
    assert {slot for *_, slot in node.lines} == {0}


def test_output_of_c_code_and_subprocesses_is_told(node: Node) -> None:
    """What is written to the descriptors themselves comes too, with the task in progress."""
    (number,) = node.run([node.make("say_below", "hello"), node.make("sleep", 0.2)])[:1]
    node.until(lambda: len(node.lines) == 2)
    assert [line for _, stream, line, _ in node.lines if stream == "stdout"] == [
        "hello from C",
        "hello from a child",
    ]
    assert tagged(node, number)[0] == ("stdout", "hello from C")


def test_much_output_neither_blocks_nor_loses(node: Node) -> None:
    """20,000 lines and a result come through, in order."""
    assert node.call("chatter", 20_000) == 20_000
    assert len(node.lines) == 20_000
    assert node.lines[12_345][2].startswith("line 12345 x")


def test_threads_of_a_task_print_whole_lines(node: Node) -> None:
    """Lines of several threads are not mixed up within a line's text."""
    node.call("say_in_threads", 4, 200)
    texts = [line for *_, line, _ in node.lines if line]
    assert sum(text.count("thread") for text in texts) == 800


def test_a_signal_handler_may_print(node: Node) -> None:
    """A handler that prints in the middle of a print hangs nothing and spoils nothing."""
    handled = node.call("say_in_handler", 5000)
    assert handled > 0
    text = "".join(line for *_, line, _ in node.lines)
    assert text.count("handled") == handled
    assert text.count("line ") == 5000


def test_modules_may_print_while_they_load(
    make_node: Callable[..., Node], tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a module prints when it is imported comes without a task id."""
    (tmp_path / "talker.py").write_text("print('loading')\n")  # type: ignore[operator]
    node = make_node(modules=["talker"], path=[str(tmp_path)])
    node.start()
    assert node.lines == [("", "stdout", "loading", 0)]
