"""Readers: each turns one raw value (a flag's, a variable's text, a TOML value) into a setting's value.

A reader raises ``ValueError`` with a text that goes on from "<setting> …": what it expects, and what it got.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from meshq.errors import ConfigError

Reader: TypeAlias = Callable[[object], Any]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_HOST = re.compile(r"\*|[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})", re.ASCII)
_PEER = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[A-Za-z0-9_][A-Za-z0-9_.-]*):([0-9]{1,5})", re.ASCII)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([kmgt]?)(i?)b?)", re.ASCII | re.IGNORECASE)
_UNITS = "units: B, KB, MB, GB, TB of 1000s, KiB, MiB, GiB, TiB of 1024s"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def check_name(what: str, value: object) -> str:
    """Return ``value`` if it can name a mesh, a node or a tag, else raise ``ConfigError`` about ``what``."""
    try:
        return read_name(value)
    except ValueError as error:
        raise ConfigError(f"{what} {error}") from None


def check_peer(what: str, value: object) -> str:
    """Return ``value`` if it is ``tcp://HOST:PORT``, else raise ``ConfigError`` about ``what``."""
    try:
        return read_peer(value)
    except ValueError as error:
        raise ConfigError(f"{what} {error}") from None


def read_name(raw: object) -> str:
    """Read the name of a mesh, a node or a tag."""
    if isinstance(raw, str) and _NAME.fullmatch(raw):
        return raw
    raise ValueError(f"must be 1 to 64 of the characters A-Z a-z 0-9 _ . - (got {raw!r})")


def read_flag(raw: object) -> bool:
    """Read a yes or no."""
    if isinstance(raw, bool):
        return raw
    text = str(raw).strip().lower() if isinstance(raw, str | int) else ""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(f"must be true or false (got {raw!r})")


def read_path(raw: object) -> Path:
    """Read a path; the loader makes it absolute."""
    if isinstance(raw, str | Path) and str(raw).strip() and "\0" not in str(raw):
        return Path(os.path.expanduser(raw))
    raise ValueError(f"must be a path (got {raw!r})")


def read_module(raw: object) -> str:
    """Read the name of a module to import."""
    if isinstance(raw, str) and _MODULE.fullmatch(raw) and not raw.endswith(".py"):
        return raw
    hint = f"; give the module's name, {Path(raw).stem!r}" if isinstance(raw, str) and raw.endswith(".py") else ""
    raise ValueError(f"must be the name of a module, such as photos or shop.orders (got {raw!r}){hint}")


def read_allow(raw: object) -> str:
    """Read ``MODULE`` or ``MODULE:GLOB``."""
    module, colon, glob = raw.partition(":") if isinstance(raw, str) else ("", "", "")
    if not _MODULE.fullmatch(module) or (colon and not glob):
        raise ValueError(f"must be MODULE or MODULE:GLOB, such as operator:add* (got {raw!r})")
    return f"{module}{colon}{glob}"


def read_host(raw: object) -> str:
    """Read the address or host name to bind to: no scheme, no port; ``*`` is every interface."""
    if isinstance(raw, str) and (_HOST.fullmatch(raw) or _is_ipv6(raw)):
        return raw
    raise ValueError(f"must be one address or host name, such as 0.0.0.0, without a port (got {raw!r})")


def _is_ipv6(text: str) -> bool:
    import ipaddress  # takes milliseconds, and few need it

    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def read_peer(raw: object) -> str:
    """Read a node's endpoint, ``tcp://HOST:PORT``."""
    match = _PEER.fullmatch(raw) if isinstance(raw, str) else None
    if match and 1 <= int(match[2]) <= 65535:
        return match[0]
    raise ValueError(f"must be tcp://HOST:PORT, such as tcp://10.0.0.5:5555 (got {raw!r})")


def read_bytes(raw: object) -> int:
    """Read a number of bytes: a whole number, or text such as ``512 MiB`` (1024s) or ``2GB`` (1000s)."""
    if isinstance(raw, int) and not isinstance(raw, bool) and raw > 0:
        return raw
    match = _SIZE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match:
        power = " kmgt".index(match[2].lower() or " ")
        size = float(match[1]) * (1024 if match[3] else 1000) ** power
        if 1 <= size < float("inf"):
            return int(size)
    raise ValueError(f"must be a number of bytes above 0, such as 268435456 or 256MiB ({_UNITS}; got {raw!r})")


def bytes_from(low: int) -> Reader:
    """Make a reader of numbers of bytes of at least ``low``, which is a whole number of MiB."""

    def read(raw: object) -> int:
        size = read_bytes(raw)
        if size < low:
            raise ValueError(f"must be {low >> 20} MiB ({low} bytes) or more (got {raw!r})")
        return size

    return read


def read_seconds(raw: object) -> float:
    """Read a duration in seconds, 0 or more."""
    try:
        seconds = float("nan") if isinstance(raw, bool) else float(raw)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = float("nan")
    if 0 <= seconds < float("inf"):
        return seconds
    raise ValueError(f"must be a number of seconds, 0 or more (got {raw!r})")


def whole_number(low: int, high: int) -> Reader:
    """Make a reader of whole numbers from ``low`` to ``high``."""

    def read(raw: object) -> int:
        text = str(raw).strip() if isinstance(raw, str | int) and not isinstance(raw, bool) else ""
        if text.isascii() and text.isdigit() and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"must be a whole number from {low} to {high} (got {raw!r})")

    return read


def one_of(*choices: str) -> Reader:
    """Make a reader of one of a few words; case does not matter."""

    def read(raw: object) -> str:
        if isinstance(raw, str) and raw.strip().lower() in choices:
            return raw.strip().lower()
        raise ValueError(f"must be one of {', '.join(choices)} (got {raw!r})")

    return read


def several(read_one: Reader) -> Reader:
    """Make a reader of a list, or of text with commas between; what comes twice counts once."""

    def read(raw: object) -> tuple[Any, ...]:
        if isinstance(raw, str):
            items: Iterable[object] = [item.strip() for item in raw.split(",") if item.strip()]
        elif isinstance(raw, list | tuple | set | frozenset):
            items = raw
        else:
            raise ValueError(f"must be a list, or text with commas between (got {raw!r})")
        return tuple(dict.fromkeys(read_one(item) for item in items))

    return read
