"""Where meshq keeps its files: the mesh key and a node's state."""

from __future__ import annotations

import os.path
from pathlib import Path

from meshq.config.settings import Settings
from meshq.errors import ConfigError


def default_key_path() -> Path:
    """Return where the mesh key is looked for, and written: ``mesh.key`` in the user's config directory."""
    import platformdirs

    return platformdirs.user_config_path("meshq") / "mesh.key"


def default_state_dir() -> Path:
    """Return where a node keeps what must outlast it: a directory below the user's state directory."""
    import platformdirs

    return platformdirs.user_state_path("meshq")


def state_dir(settings: Settings) -> Path:
    """Return the directory for a node's state; it may not exist yet."""
    return settings.state or default_state_dir()


def find_key_path(settings: Settings) -> Path | None:
    """Return the path of the mesh key to use, or None for no key.

    A path in the settings must lead to a file; the default path counts if there is a file. With ``insecure``
    there is no key, and asking for both is a ``ConfigError``, as guessing wrong would open or cut the node.
    """
    if settings.key is None:
        path = default_key_path()
        return path if not settings.insecure and os.path.isfile(path) else None
    source = settings.origins.get("key", "key")
    if settings.insecure:
        other = settings.origins.get("insecure", "insecure")
        raise ConfigError(f"a key ({source}) and insecure ({other}) exclude each other: leave one out")
    if not os.path.isfile(settings.key):
        raise ConfigError(
            f"{source}: there is no key file {settings.key}; make one with 'meshq key new', "
            "or copy it from another host of the mesh"
        )
    return settings.key
