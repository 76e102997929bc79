"""What a program is told of a task that no node takes, and of a mesh without nodes."""

from __future__ import annotations

import pytest

from meshq.client.nodes import NodeInfo, explain_absence, explain_unknown
from meshq.core.membership import Problem


def node(name: str, *functions: str, tags: tuple[str, ...] = ()) -> NodeInfo:
    """Return a node that offers these functions."""
    return NodeInfo(name, "host", "id", "tcp://127.0.0.1:1", "alive", 1, functions, tags, False)


def test_a_function_that_nobody_offers() -> None:
    """The text names what the nodes offer, and the flags that would help."""
    text = explain_unknown("photos.blur", (), "msgpack", [node("a", "photos.crop"), node("b")])
    assert text.startswith("no node offers photos.blur. Seen: a@host offers photos.crop; b@host offers nothing. ")
    assert "'meshq node photos'" in text
    assert "'--allow photos:blur'" in text


def test_a_function_of_the_standard_library() -> None:
    """No node gets it from a module of tasks; the flag that allows it is named."""
    text = explain_unknown("operator.add", (), "msgpack", [node("a", "photos.crop")])
    assert text.endswith("Start a node that allows it by name ('--allow operator:add')")
    assert "meshq node operator" not in text


def test_tags_that_no_node_has() -> None:
    """Where the function is offered, the text is about the tags of the nodes that offer it, and of no others."""
    nodes = [node("a", "photos.blur", tags=("cpu",)), node("b", tags=("gpu", "big"))]
    text = explain_unknown("photos.blur", {"gpu", "big"}, "msgpack", nodes)
    assert text.startswith("no node that offers photos.blur has all its tags. Seen: a@host has cpu. ")
    assert text.endswith("Start one with '--tag big --tag gpu'")


def test_a_serializer_that_no_node_takes() -> None:
    """Where function and tags are right, the text is about the serializer."""
    text = explain_unknown("photos.blur", {"gpu"}, "pickle", [node("a", "photos.blur", tags=("gpu",))])
    assert text == "no node that offers photos.blur takes the serializer pickle: start one with --allow-pickle"


@pytest.mark.parametrize(
    ("code", "unsafe", "helps"),
    [
        ("", {}, True),
        ("refused", {}, True),
        ("key", {}, False),
        ("auth", {}, False),
        ("version", {}, False),
        ("", {"a": "b"}, False),
    ],
)
def test_a_mesh_without_nodes(code: str, unsafe: dict[str, str], helps: bool) -> None:
    """Where a key is the reason, nodes are there, and another one would not help."""
    problems = [Problem("a@host", "tcp://127.0.0.1:1", code, "the reason")] if code else []
    text = explain_absence("m", problems, unsafe)
    assert text.startswith("no node of the mesh 'm' was found: ")
    assert ("meshq node MODULE" in text) is helps
