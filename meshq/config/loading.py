"""Gather the settings from flags, the environment and a file, and say of each where it came from."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from meshq.config.settings import SPECS, Settings
from meshq.errors import ConfigError

RESERVED_VARIABLES = frozenset({"MESHQ_WORKER"})
"""Set by a node for its own workers; not settings."""

_log = logging.getLogger("meshq.config")


class _Raw(NamedTuple):
    """A value as it was written: where, and what relative paths in it start from."""

    value: object
    source: str
    base: Path


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    given_as: Literal["flag", "argument"] = "flag",
) -> Settings:
    """Return the settings: flag > ``MESHQ_*`` > ``meshq.toml`` or ``[tool.meshq]`` > default.

    ``flags`` maps setting names to values; None and the empty tuple mean "not given", and so does an empty
    variable. The file is looked for in ``cwd`` and above it, up to the directory that holds ``.git``.
    ``given_as`` is how errors speak of ``flags``. Raises ``ConfigError``.
    """
    directory = _directory(cwd)
    raws = _from_file(directory)
    raws |= _from_environment(os.environ if environ is None else environ, directory)
    raws |= _from_flags(flags or {}, directory, given_as)
    values = {name: _read(name, raw) for name, raw in raws.items()}
    return Settings(**values, origins={name: raw.source for name, raw in raws.items()})


def _directory(cwd: Path | str | None) -> Path:
    try:
        return Path(os.path.abspath(cwd or "."))
    except FileNotFoundError:
        raise ConfigError("the current directory no longer exists: change to another one") from None


def sources(settings: Settings) -> dict[str, str]:
    """Return each setting's source: ``default``, ``flag --slots``, ``environment MESHQ_SLOTS`` or a file."""
    return {name: settings.origins.get(name, "default") for name in SPECS}


def _read(name: str, raw: _Raw) -> Any:
    try:
        value = SPECS[name].read(raw.value)
    except ValueError as error:
        raise ConfigError(f"{raw.source}: {name} {error}") from None
    return Path(os.path.abspath(raw.base / value)) if isinstance(value, Path) else value


def _from_flags(flags: Mapping[str, object], base: Path, given_as: str) -> dict[str, _Raw]:
    raws = {}
    for name, value in flags.items():
        if name not in SPECS:
            _unknown(f"{given_as}s", name, SPECS)
        if value is not None and value != ():
            spelled = f"flag {SPECS[name].flag}" if given_as == "flag" else f"argument {name}"
            raws[name] = _Raw(value, spelled, base)
    return raws


def _from_environment(environ: Mapping[str, str], base: Path) -> dict[str, _Raw]:
    """Read ``MESHQ_*``. One that is unknown earns a warning only: it may be meant for another version."""
    by_variable = {spec.variable: name for name, spec in SPECS.items()}
    raws = {}
    for variable in sorted(v for v in environ if v.startswith("MESHQ_") and v not in RESERVED_VARIABLES):
        if variable not in by_variable:
            hint = _close(variable.removeprefix("MESHQ_").lower(), SPECS)
            _log.warning("unknown variable %s is ignored%s", variable, hint)
        elif environ[variable]:
            raws[by_variable[variable]] = _Raw(environ[variable], f"environment {variable}", base)
    return raws


def _from_file(directory: Path) -> dict[str, _Raw]:
    path, table = _find_file(directory)
    raws = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in SPECS:
            _unknown(str(path), key, SPECS)
        raws[name] = _Raw(value, str(path), path.parent)
    return raws


def _find_file(directory: Path) -> tuple[Path, dict[str, Any]]:
    """Return the nearest file with settings, and them; the path means nothing where there are none."""
    for folder in (directory, *directory.parents):
        for path in (folder / "meshq.toml", folder / "pyproject.toml"):
            table = _read_file(path) if os.path.isfile(path) and _is_trusted(path) else None
            if table is not None:
                return path, table
        if os.path.exists(folder / ".git"):
            break
    return directory, {}


def _is_trusted(path: Path) -> bool:
    """Say whether to heed a file: where anybody may write, as in ``/tmp``, only if it is ours or root's."""
    if not hasattr(os, "getuid") or not path.parent.stat().st_mode & 0o002:
        return True
    if path.stat().st_uid in (0, os.getuid()):
        return True
    _log.warning("%s is ignored: it is another user's, in a directory where anybody may write", path)
    return False


def _read_file(path: Path) -> dict[str, Any] | None:
    """Return the settings in a file, or None if it is a ``pyproject.toml`` that has none."""
    import tomllib

    try:
        text = path.read_text(encoding="utf-8")
        if path.name == "pyproject.toml" and "meshq" not in text:
            return None
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from None
    if path.name == "pyproject.toml":
        table = table.get("tool", {}).get("meshq")
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.meshq must be a table of settings (got {table!r})")
    return table


def _unknown(where: str, name: str, known: Iterable[str]) -> NoReturn:
    hint = _close(name, known) or f"; the settings are {', '.join(known)}"
    raise ConfigError(f"{where}: there is no setting {name!r}{hint}")


def _close(name: str, known: Iterable[str]) -> str:
    import difflib  # only for mistakes

    matches = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""
