"""The settings: what they are, where they come from, and the paths of the files that meshq keeps.

A setting comes from the first of: a flag (or an argument of ``Mesh``), ``MESHQ_*`` in the environment,
``meshq.toml`` or ``[tool.meshq]`` in ``pyproject.toml``, its default.
"""

from meshq.config.loading import load_settings, sources
from meshq.config.paths import default_key_path, default_state_dir, find_key_path, state_dir
from meshq.config.settings import Settings
from meshq.config.values import check_name, check_peer

__all__ = [
    "Settings",
    "check_name",
    "check_peer",
    "default_key_path",
    "default_state_dir",
    "find_key_path",
    "load_settings",
    "sources",
    "state_dir",
]
