"""The mesh's key: one CURVE key pair, which every node and every client of the mesh holds.

Each uses it as its server key and as its client key, so that one file proves both sides to each other. The
file holds the secret half in Z85, 40 characters; the public half follows from it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from meshq.errors import ConfigError

ZAP_DOMAIN = b"meshq"
_Z85_KEY = re.compile(rb"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_LONGEST_FILE = 4096


@dataclass(frozen=True, slots=True)
class MeshKey:
    """A CURVE key pair in Z85, 40 bytes each; its repr shows the fingerprint only."""

    public: bytes
    secret: bytes = field(repr=False)

    def __repr__(self) -> str:
        return f"MeshKey({fingerprint(self)})"


def generate() -> MeshKey:
    """Make a new key pair."""
    _require_curve()
    return MeshKey(*zmq.curve_keypair())


def fingerprint(key: MeshKey) -> str:
    """Return 16 hex digits that tell keys apart and give nothing away."""
    return hashlib.sha256(b"meshq key\0" + key.public).hexdigest()[:16]


def write_key(path: str | os.PathLike[str]) -> MeshKey:
    """Make a new key and write it to ``path``, for its owner only; a file that is there is never replaced."""
    path, key = Path(path), generate()
    try:
        _make_private_directory(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.secret + b"\n")
    except FileExistsError:
        raise ConfigError(f"{path} exists already and is not replaced: give another path, or remove it") from None
    except OSError as error:
        raise ConfigError(f"the key cannot be written to {path}: {error.strerror}") from None
    return key


def load_key(path: str | os.PathLike[str]) -> MeshKey:
    """Read a key file; ConfigError where it is missing, malformed, or readable by others than its owner."""
    _require_curve()
    path = Path(path)
    secret = _read_private(path).strip()
    if not _Z85_KEY.fullmatch(secret):
        raise _malformed(path)
    try:
        return MeshKey(zmq.curve_public(secret), secret)
    except zmq.ZMQError:
        raise _malformed(path) from None


def _read_private(path: Path) -> bytes:
    try:
        # Not blocking, as the path may be a pipe; a regular file takes no notice.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise ConfigError(f"there is no key file {path}: make one with `meshq key new`, or copy it here") from None
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}") from None
    try:
        _check_private(path, os.fstat(descriptor).st_mode)
        return os.read(descriptor, _LONGEST_FILE)
    finally:
        os.close(descriptor)


def _check_private(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ConfigError(f"the key file {path} is not a file")
    if sys.platform != "win32" and mode & 0o077:
        command = f"chmod 600 {shlex.quote(str(path))}"
        raise ConfigError(f"others can read the key file {path}: close it to them with `{command}`")


def _make_private_directory(path: Path) -> None:
    """Make the directory and its missing parents, each for its owner only."""
    if path.is_dir():
        return
    _make_private_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def _malformed(path: Path) -> ConfigError:
    return ConfigError(f"{path} is not a key file: it should be one line of 40 characters, by `meshq key new`")


def _require_curve() -> None:
    if not zmq.has("curve"):
        raise ConfigError("this pyzmq was built without CURVE: install its wheel, `pip install --force pyzmq`")
