"""The key file: made private, refused otherwise, never shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq

from meshq.errors import ConfigError
from meshq.transport.keys import MeshKey, fingerprint, generate, load_key, write_key


def test_a_written_key_is_loaded_again(tmp_path: Path) -> None:
    """The file holds 40 characters and a line's end, for its owner only, in directories for its owner only."""
    path = tmp_path / "a" / "b" / "mesh.key"
    key = write_key(path)
    assert load_key(path) == key
    assert len(path.read_bytes()) == 41
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(parent.stat().st_mode) for parent in path.parents][:2] == [0o700, 0o700]
    assert zmq.curve_public(key.secret) == key.public


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    """Writing over a key would lock the other hosts out."""
    path = tmp_path / "mesh.key"
    write_key(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"mesh\.key exists already"):
        write_key(path)
    assert path.read_bytes() == before


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    """A parent that is a file gives a ConfigError with the path, not an OSError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/mesh\.key"):
        write_key(tmp_path / "file" / "mesh.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The error gives the command that mends it."""
    path = tmp_path / "my mesh.key"
    write_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"chmod 600 '{path}'"):
        load_key(path)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 41, b"\xff" * 40, b"~" * 40, b"#" * 40])
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    """A wrong file is named; what is in it might be a secret of another kind."""
    path = tmp_path / "mesh.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"mesh\.key is not a key file") as caught:
        load_key(path)
    assert not content or content.decode("latin-1") not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    """The error names the path and the command."""
    with pytest.raises(ConfigError, match=r"no key file .*nowhere\.key.*meshq key new"):
        load_key(tmp_path / "nowhere.key")


def test_a_pipe_or_directory_is_no_key_file(tmp_path: Path) -> None:
    """Loading neither blocks nor fails with anything but a ConfigError."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ConfigError, match="key file"):
            load_key(path)


def test_the_secret_is_not_shown() -> None:
    """Neither repr nor str nor a format string shows it, only the fingerprint."""
    key = generate()
    assert f"{key} {key!r}" == f"MeshKey({fingerprint(key)}) MeshKey({fingerprint(key)})"


def test_fingerprints_tell_keys_apart() -> None:
    """16 hex digits, the same for the same key."""
    one, other = generate(), generate()
    assert fingerprint(one) == fingerprint(MeshKey(one.public, one.secret)) != fingerprint(other)
    assert len(bytes.fromhex(fingerprint(one))) == 8


def test_a_pyzmq_without_curve_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key cannot be used without CURVE, and the error says what to install."""
    monkeypatch.setattr(zmq, "has", lambda capability: False)
    with pytest.raises(ConfigError, match="without CURVE"):
        load_key(tmp_path / "mesh.key")
