"""Every example runs, by the commands that its head tells the reader to type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from example_runner import ROOT, Desk, commands_of

EXAMPLES = ROOT / "examples"


@pytest.fixture
def desk_of(tmp_path: Path) -> Iterator[Callable[[Path], Desk]]:
    """Make a desk in a directory."""
    desks: list[Desk] = []

    def make(directory: Path) -> Desk:
        desks.append(Desk(directory, tmp_path))
        return desks[-1]

    yield make
    for desk in desks:
        desk.close()


@pytest.fixture
def follow(desk_of: Callable[[Path], Desk]) -> Callable[[str], tuple[str, Desk]]:
    """Type the commands of an example; return what its script has printed, and the desk."""

    def type_all(script: str) -> tuple[str, Desk]:
        path = EXAMPLES / script
        desk = desk_of(path.parent)
        return "".join([desk.type(command) for command in commands_of(path)]), desk

    return type_all


Follow = Callable[[str], tuple[str, Desk]]


def test_hello(follow: Follow) -> None:
    """The script greets here and on the node, and its detached task runs after it has ended."""
    printed, desk = follow("hello/hello.py")
    _, here, there, on_its_way = printed.splitlines()
    assert here.startswith("Hello, you!")
    assert there.startswith("Hello, mesh!")
    assert here.split("process")[1] != there.split("process")[1]
    task_id = on_its_way.split()[1]
    desk.until_logged("greeting whoever reads the node's log")
    line = next(line for line in desk.node_logs().splitlines() if "greeting whoever" in line)
    assert f"task_id={task_id}" in line


def test_fan_out(follow: Follow) -> None:
    """Each file is counted once, the progress is shown, and the sums are those of counting here."""
    printed, _ = follow("fan_out/count_files.py")
    files = list(EXAMPLES.rglob("*.py"))
    words = [word for file in files for word in re.findall(r"[a-z]+", file.read_text(encoding="utf-8").lower())]
    *progress, total, _ = printed.splitlines()
    assert [line.split()[0] for line in progress] == [f"[{n}/{len(files)}]" for n in range(1, len(files) + 1)]
    assert {Path(line.split()[1].rstrip(":")).name for line in progress} == {file.name for file in files}
    assert total == f"{len(files)} files, {len(words)} words, {len(set(words))} different ones"


def test_errors(follow: Follow) -> None:
    """Each error shows as the example says."""
    printed, _ = follow("errors/errors.py")
    expected = [
        r"1. ZeroDivisionError: division by zero",
        r'   on the node: File ".*shaky.py", line \d+, in divide',
        r"2. OutOfStock: 2 spoons missing",
        r"3. RemoteError of type sqlite3.OperationalError: .*no such table: nowhere",
        r"4. 6.0",
        r"4. ZeroDivisionError\('division by zero'\)",
        r"4. 3.0",
        r"5. UnknownTask: no node offers shaky.multiply. Seen: .* offers shaky.crash, shaky.divide.*",
        r"6. WorkerLost: .*exit code 1.*exit code 1.*exit code 1.*",
        r"7. EncodingError: argument 2 is .*",
        r"8. and the node still works: 42.0",
    ]
    lines = printed.splitlines()
    assert len(lines) == len(expected), printed
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), printed


def test_after_a_crash(follow: Follow) -> None:
    """The second run gets the results of the first one's tasks, each of which has run once."""
    printed, _ = follow("after_a_crash/encode.py")
    first, dies, *again = printed.splitlines()
    assert dies == "and now the power goes"
    assert again[0] == first
    assert [line.split(",")[0] for line in again] == ["Alien", "Brazil", "Casablanca"]


def test_asyncio_client(follow: Follow) -> None:
    """Results are awaited while the event loop goes on, and a timeout of asyncio ends the waiting."""
    printed, _ = follow("asyncio_client/client.py")
    assert printed.splitlines() == [
        "one: 144",
        f"many: {[number * number for number in range(10)]}",
        "slow: 0.5",
        "the event loop went on: True",
        "timed out",
    ]


def test_two_kinds_of_nodes(follow: Follow) -> None:
    """Tasks with a tag go to the node that has it, others to both, a plain function to the one that allows it."""
    printed, _ = follow("two_kinds_of_nodes/studio.py")
    assert printed.splitlines() == [
        "artist: tags ['gpu'], offers rendering.draw, rendering.preview",
        "clerk: tags [], offers rendering.draw, rendering.preview, statistics.mean",
        "draw: a drawing of a tree, by artist",
        "draw: a drawing of a house, by artist",
        "draw: a drawing of a cat, by artist",
        "preview: by artist and clerk",
        "mean: 3",
        "no node has the tag plotter",
    ]


def test_embedded_node(follow: Follow) -> None:
    """A program serves and uses its own node, whose tasks run in other processes, and ends."""
    printed, _ = follow("embedded_node/program.py")
    first, *rest = printed.splitlines()
    assert re.fullmatch(r"kitchen@\S+ serves at tcp://127.0.0.1:\d+", first)
    assert rest == ["100 plates washed", "in this process: False", "the node has stopped"]


def test_steering(follow: Follow) -> None:
    """Control shows, ends, limits and discards tasks as the example says."""
    printed, _ = follow("steering/steering.py")
    assert printed.splitlines() == [
        "1. oven says pong, slots: 1",
        "   missing: {}",
        "2. active: bakery.bake('roast', 3600)",
        "   revoke: terminated",
        "   TaskRevoked",
        "3. scheduled, because of a countdown: 'breakfast rolls'",
        "   revoke: dropped",
        "4. cake, underdone",
        "   TimeLimitExceeded",
        "5. bakery.bake [rate_limit=10/s]: 6 biscuits took half a second: True",
        "6. 100 discarded, silent: {}",
        "   all settled: True",
        "   and pizza is ready",
    ]


def test_control_command(follow: Follow) -> None:
    """The user's command is carried out by the node, with its arguments; what goes wrong is its reply."""
    printed, _ = follow("control_command/keeper.py")
    made, shelf, cleared, gone, wrong = printed.splitlines()
    assert made == "made: 20"
    assert shelf == "shelf: {'pictures': 20, 'bytes': 210}"
    assert cleared == "cleared: [20]"
    assert re.fullmatch(r"with {'clear': True}: {'error': .*FileNotFoundError.*}", gone)
    assert re.fullmatch(r"with {'empty': True}: {'error': .*empty.*}", wrong)


def test_every_example_is_run() -> None:
    """Each script that says what to type is in a test of this module, and in the examples' table."""
    scripts = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py") if commands_of(path)}
    here, table = Path(__file__).read_text(encoding="utf-8"), (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert len(scripts) == 9
    assert not [script for script in scripts if f'follow("{script}")' not in here]
    assert not [script for script in scripts if f"({script})" not in table]
