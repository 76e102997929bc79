"""Whether functions without a name can be submitted: which nodes are seen, and what is missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshq.client.calls import make_future
from meshq.client.nodes import NodeInfo, explain_unknown
from meshq.client.shipping import FIRST_NODE_S, Shipping
from meshq.errors import EncodingError
from meshq.protocol import pickling
from meshq.tasks import SHIPPED, NamelessFunction, shipped

WHY = NamelessFunction("it has no name")


def node(name: str, *functions: str) -> NodeInfo:
    """Return a node that offers these functions."""
    return NodeInfo(name, "host", "0" * 32, "tcp://127.0.0.1:1", "alive", 1, functions, (), True)


class Seen:
    """A mesh, of which more is seen with each look."""

    def __init__(self, *looks: list[NodeInfo], here: bool = False) -> None:
        self.looks = list(looks)
        self.waits: list[float | None] = []
        self.here = here

    def nodes(self) -> list[NodeInfo]:
        """Return what is seen now."""
        return self.looks[0]

    def is_complete(self) -> bool:
        """Whether there is no more to come."""
        return len(self.looks) == 1 and bool(self.looks[0])

    def in_loop(self) -> bool:
        """Whether the mesh itself is asking."""
        return self.here

    def wait(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Look again until it holds."""
        self.waits.append(timeout)
        while not (held := holds()) and len(self.looks) > 1:
            self.looks.pop(0)
        return held


def shipping(seen: Seen, has_key: bool = True) -> Shipping:
    """Return what is tested."""
    return Shipping(seen, seen.wait, has_key)


def test_a_node_that_takes_pickles_is_waited_for_once() -> None:
    """Until it is seen; from then on functions go without a look."""
    seen = Seen([], [node("a")], [node("a"), node("b", SHIPPED)], [])
    made = shipping(seen)
    made.check(WHY)
    made.check(WHY)
    assert len(seen.looks) == 2
    assert seen.waits == [FIRST_NODE_S]


@pytest.mark.parametrize(
    ("seen", "text"), [(Seen([]), "no node is seen"), (Seen([], [node("a", "f")]), r"seen does \(a@host\)")]
)
def test_without_such_a_node_the_error_says_who_is_seen(seen: Seen, text: str) -> None:
    """After what was wrong with the function."""
    with pytest.raises(NamelessFunction, match=rf"it has no name.*{text}"):
        shipping(seen).check(WHY)


def test_without_a_key_nobody_waits() -> None:
    """As no node can be trusted with a pickle, nor with the result."""
    seen = Seen([node("a", SHIPPED)])
    with pytest.raises(NamelessFunction, match="no key"):
        shipping(seen, has_key=False).check(WHY)
    assert seen.waits == []


def test_a_callback_decides_by_what_is_seen() -> None:
    """It runs in the mesh's own thread, which must not wait for itself."""
    seen = Seen([], [node("a", SHIPPED)], here=True)
    with pytest.raises(NamelessFunction):
        shipping(seen).check(WHY)
    assert seen.waits == []


def test_arguments_are_numbered_as_they_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function itself is no argument; what plain pickle cannot do names the package that can."""

    def submit(*args: object) -> None:
        make_future(None, SHIPPED, args, {}, shipped.call_settings)  # type: ignore[arg-type]

    unfit = (item for item in ())
    with pytest.raises(EncodingError, match=r"^argument 2 is a generator"):
        submit(len, 1, unfit)
    with pytest.raises(EncodingError, match=r"^the function is a") as caught:
        submit(unfit.__next__)
    assert "pip install" not in str(caught.value)
    monkeypatch.setattr(pickling, "_cloudpickle", lambda: None)
    with pytest.raises(EncodingError, match=r"^the function is a function.*pip install cloudpickle"):
        submit(lambda: None)
    with pytest.raises(EncodingError, match=r"^argument 1 is a function.*pip install cloudpickle"):
        submit(len, lambda: None)


def test_once_the_node_has_gone_the_task_s_error_says_what_it_was() -> None:
    """No module would help."""
    text = explain_unknown(SHIPPED, (), "pickle", [node("a", "f")])
    assert text.startswith("no node takes functions as pickles. Seen: a@host. Start one with --allow-pickle")
