"""Output cut into lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshq.workers.lines import MAX_LINE, Lines


@given(st.text(), st.lists(st.integers(1, 7)))
def test_lines_are_whole_whatever_the_pieces(text: str, steps: list[int]) -> None:
    """Cut anywhere, in the middle of a character too, bytes give the lines of the text."""
    text = text.replace("\r", "")
    data, lines, got = text.encode("utf-8", "replace"), Lines(), []
    for step in [*steps, len(data) or 1]:
        got += lines.feed(data[:step])
        data = data[step:]
    whole = text.encode("utf-8", "replace").decode()
    assert got + lines.rest() == (whole.split("\n") if whole[-1:] != "\n" else whole.split("\n")[:-1]) or not whole


def test_a_line_without_an_end_is_cut() -> None:
    """Megabytes without a line's end do not collect in memory: they go on in pieces."""
    lines = Lines()
    got = lines.feed(b"x" * (10 * MAX_LINE + 5))
    assert [len(line) for line in got] == [MAX_LINE] * 10
    assert lines.unfinished
    assert lines.rest() == ["xxxxx"]
    assert lines.rest() == []
    assert [len(line) for line in lines.feed(b"y" * (MAX_LINE + 1) + b"\n")] == [MAX_LINE, 1]


def test_bytes_that_are_no_text_are_shown() -> None:
    """What is not UTF-8 is shown in hexadecimal; a carriage return at the end is dropped."""
    assert Lines().feed(b"\xff!\r\n") == ["\\xff!"]
