"""The error tree: what users may catch, and what survives the trip between processes."""

from __future__ import annotations

import inspect
import pickle
from concurrent.futures import BrokenExecutor

import pytest

import meshq
from meshq import errors

ALL = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_all_descend_from_one_root(cls: type[Exception]) -> None:
    """``except MeshqError`` catches everything that meshq raises, and each class is public and documented."""
    assert issubclass(cls, errors.MeshqError)
    assert getattr(meshq, cls.__name__) is cls
    assert cls.__doc__
    assert cls.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("cls", "familiar"),
    [
        (errors.ConfigError, ValueError),
        (errors.EncodingError, TypeError),
        (errors.MeshClosed, RuntimeError),
        (errors.WorkerLost, BrokenExecutor),
        (errors.LocalProtocolError, errors.ProtocolError),
        (errors.RemoteProtocolError, errors.ProtocolError),
        (errors.TaskRevoked, errors.TaskError),
        (errors.TaskExpired, errors.TaskError),
        (errors.TaskLost, errors.TaskError),
        (errors.WorkerLost, errors.TaskError),
        (errors.SoftTimeLimitExceeded, errors.TaskError),
        (errors.TimeLimitExceeded, errors.TaskError),
        (errors.RemoteError, errors.TaskError),
    ],
)
def test_errors_are_what_code_already_catches(cls: type[Exception], familiar: type[Exception]) -> None:
    """Handlers written for the standard library, or for a whole group, work."""
    assert issubclass(cls, familiar)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_errors_survive_pickling(cls: type[Exception]) -> None:
    """An error can be handed to another process by whatever pool the user has."""
    copy = pickle.loads(pickle.dumps(cls("what happened")))
    assert type(copy) is cls
    assert str(copy) == "what happened"


def test_what_errors_carry() -> None:
    """A lost task says whether it may have run; a remote error what it was."""
    assert errors.TaskLost().maybe_executed is True
    lost = pickle.loads(pickle.dumps(errors.TaskLost("gone", maybe_executed=False)))
    assert lost.maybe_executed is False
    remote = errors.RemoteError("boom", type_name="shop.OutOfStock", remote_traceback="Traceback…")
    copy = pickle.loads(pickle.dumps(remote))
    assert (copy.type_name, copy.remote_traceback) == ("shop.OutOfStock", "Traceback…")
