"""Exceptions as data: what was raised there is raised here, and nothing is imported for it."""

from __future__ import annotations

import sys
import traceback
from types import ModuleType
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshq.errors import RemoteError, RemoteProtocolError, SoftTimeLimitExceeded, TaskLost
from meshq.protocol.failures import RemoteTraceback, dump_failure, load_failure, remote_traceback


class WithCode(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class WithPrefix(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(f"no {name}")
        self.name = name


class WithStr(Exception):
    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class Outer:
    class Inner(Exception):
        pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class OnlyBase(BaseException):
    pass


def raised(error: BaseException) -> BaseException:
    """Raise and catch an exception, so that it has a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def carried(error: BaseException) -> BaseException:
    """Send a raised exception to another process and back."""
    return load_failure(dump_failure(raised(error)))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad", 3, (1, 2)),
        KeyError("name"),
        FileNotFoundError(2, "No such file", "/tmp/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        ImportError("gone", name="photos", path="/x"),
        ZeroDivisionError(),
        Outer.Inner("x"),
        SoftTimeLimitExceeded("after 3 s"),
    ],
    ids=repr,
)
def test_a_known_type_comes_back_as_it_was(error: Exception) -> None:
    """Type, arguments, text and attributes of a known exception survive."""
    got = carried(error)
    assert type(got) is type(error)
    assert (got.args, str(got), repr(got)) == (error.args, str(error), repr(error))
    assert getattr(got, "filename", None) == getattr(error, "filename", None)
    assert getattr(got, "name", None) == getattr(error, "name", None)


def test_the_attributes_of_our_own_errors_survive() -> None:
    """What a TaskLost says of the task's having run is what it said there."""
    got = carried(TaskLost("gone", maybe_executed=False))
    assert isinstance(got, TaskLost)
    assert not got.maybe_executed
    nested = carried(RemoteError("x: y", type_name="x", remote_traceback="text"))
    assert isinstance(nested, RemoteError)
    assert nested.type_name == "x"


@pytest.mark.parametrize(
    ("error", "text"), [(WithCode(5, "bad"), "5: bad"), (WithPrefix("x"), "no x"), (WithStr(7), "code 7")]
)
def test_a_constructor_that_takes_other_arguments_is_no_obstacle(error: Exception, text: str) -> None:
    """Types whose constructors do not take their own ``args`` still come back, with text and attributes."""
    got = carried(error)
    assert type(got) is type(error)
    assert str(got) == text
    assert vars(got) == vars(error)


def test_the_remote_traceback_is_shown_as_the_cause() -> None:
    """A user who lets the error through sees where it was raised remotely, causes and notes included."""
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise ValueError("second") from first
    except ValueError as error:
        error.add_note("of note")
        got = load_failure(dump_failure(error))
    printed = "".join(traceback.format_exception(got))
    assert "in test_the_remote_traceback_is_shown_as_the_cause" in printed
    assert "KeyError: 'first'" in printed
    assert got.__notes__ == ["of note"]
    assert isinstance(got.__cause__, RemoteTraceback)
    text = remote_traceback(got)
    assert text is not None
    assert text.endswith("ValueError: second\nof note\n")
    assert text in printed
    assert remote_traceback(ValueError()) is None


def test_an_unknown_type_comes_as_a_remote_error_that_names_it() -> None:
    """Nothing is imported to find a type; the error says which one it was."""
    module = ModuleType("photos_of_a_worker")
    exec("class BadImage(ValueError): pass", vars(module))
    sys.modules["photos_of_a_worker"] = module
    try:
        data = dump_failure(raised(module.BadImage("no header")))
        assert type(load_failure(data)) is module.BadImage
    finally:
        del sys.modules["photos_of_a_worker"]
    got = load_failure(data)
    assert isinstance(got, RemoteError)
    assert str(got) == "photos_of_a_worker.BadImage: no header"
    assert got.type_name == "photos_of_a_worker.BadImage"
    assert remote_traceback(got) == got.remote_traceback
    assert "BadImage: no header" in got.remote_traceback
    assert "photos_of_a_worker" not in sys.modules


def test_a_type_of_the_script_run_here_is_found_by_its_modules_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that the node has loaded as a module catches its own exceptions."""
    main = ModuleType("__main__")
    main.__file__ = "/somewhere/photos_script.py"
    exec("class BadImage(ValueError): pass", vars(main))
    main.BadImage.__module__ = "photos_script"
    data = dump_failure(raised(main.BadImage("x")))
    assert isinstance(load_failure(data), RemoteError)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert type(load_failure(data)) is main.BadImage
    del main.__file__
    assert isinstance(load_failure(data), RemoteError)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (SystemExit(3), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (OnlyBase(), f"{__name__}.OnlyBase"),
    ],
)
def test_what_is_no_exception_comes_as_a_remote_error(error: BaseException, name: str) -> None:
    """A task that calls sys.exit() does not end the process that waits for it."""
    got = carried(error)
    assert isinstance(got, RemoteError)
    assert got.type_name == name


def forged(**fields: Any) -> bytes:
    """Make a failure by hand."""
    packed: bytes = msgpack.packb(
        {"module": "builtins", "qualname": "ValueError", "message": "m", "args": [], "exact": True}
        | {"state": {}, "traceback": "", "notes": []}
        | fields
    )
    return packed


@pytest.mark.parametrize(
    ("module", "qualname"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "int"),
        ("builtins", "SystemExit"),
        ("no.such", "Error"),
        ("builtins", "ValueError.__class__"),
        ("builtins", "ValueError.args.x"),
        ("builtins", ""),
        ("", ""),
        (__name__, "carried.<locals>.x"),
        ("builtins", "ExceptionGroup"),
    ],
)
def test_only_exception_types_are_ever_called(module: str, qualname: str) -> None:
    """A failure that names anything else is told, and not carried out."""
    got = load_failure(forged(module=module, qualname=qualname, args=[msgpack.packb("echo")]))
    assert isinstance(got, RemoteError)


def test_a_module_is_not_asked_for_what_it_has_not() -> None:
    """A module with its own ``__getattr__``, which might import, is looked through but not woken."""
    module = ModuleType("lazy_module")
    exec("def __getattr__(name): raise AssertionError(name)", vars(module))
    sys.modules["lazy_module"] = module
    try:
        assert isinstance(load_failure(forged(module="lazy_module", qualname="Error")), RemoteError)
    finally:
        del sys.modules["lazy_module"]


def test_arguments_that_do_not_fit_come_as_their_reprs() -> None:
    """An exception with an argument of any kind keeps its type and its text."""
    value = object()
    got = carried(ValueError("with", value))
    assert type(got) is ValueError
    assert repr(value) in str(got)
    only = carried(ValueError(value))
    assert str(only) == str(value)


def test_attributes_that_do_not_fit_stay_behind() -> None:
    """No text passes for an attribute of another type."""
    error = ValueError("x")
    error.handle = object()  # type: ignore[attr-defined]
    error.code = 5  # type: ignore[attr-defined]
    assert vars(carried(error)) == {"code": 5}


def test_an_exception_that_cannot_be_printed_is_still_told() -> None:
    """A broken ``__str__`` does not hide the failure."""
    got = carried(Unprintable(1))
    assert isinstance(got, RemoteError)
    assert "raised RuntimeError" in str(got)


def test_a_huge_exception_is_cut() -> None:
    """Neither message, arguments, notes, attributes nor traceback can fill the wire."""
    error = ValueError("ü" * 10_000_000, *range(1000))
    error.blob = b"x" * 10_000_000  # type: ignore[attr-defined]
    for _ in range(100):
        error.add_note("n" * 100_000)
    data = dump_failure(raised(error))
    assert len(data) < 320 * 1024
    got = load_failure(data)
    assert type(got) is ValueError
    assert "bytes left out" in str(got)


def test_text_that_is_not_unicode_is_escaped() -> None:
    """A lone surrogate, as file names have them, does not stop a failure."""
    assert "odd-\\udcff" in str(carried(ValueError("odd-\udcff", object())))


@given(st.lists(st.none() | st.integers() | st.text() | st.binary() | st.tuples(st.integers())))
def test_plain_arguments_arrive_exactly(args: list[Any]) -> None:
    """``args`` of plain data are those that were raised."""
    got = carried(ValueError(*args))
    assert type(got) is ValueError
    assert got.args == tuple(args)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x90",
        msgpack.packb({}),
        forged(module=3),
        forged(args=[3]),
        forged(args=[b"\xc1"]),
        forged(state={"x": b""}),
        forged(state={"__class__": b"\x01"}),
        forged(state={3: b"\x01"}),
        forged(notes=[b"x"]),
        forged(exact=1),
    ],
)
def test_a_malformed_failure_is_a_remote_protocol_error(data: bytes) -> None:
    """Whatever is wrong with a failure, one error says so."""
    with pytest.raises(RemoteProtocolError):
        load_failure(data)


def test_forged_attributes_do_no_harm() -> None:
    """Attributes that the type will not have are left out."""
    got = load_failure(forged(state={"args": msgpack.packb(5), "add_note": msgpack.packb(1)}, notes=["n"]))
    assert type(got) is ValueError
    assert got.__notes__ == ["n"]


def test_a_failure_may_arrive_in_pieces() -> None:
    """A failure above the inline limit is cut as any payload is."""
    data = dump_failure(raised(ValueError("x" * 10_000)))
    assert str(load_failure([data[:100], memoryview(data)[100:]])) == "x" * 10_000
