"""Settings: where they come from, what is refused, and how the refusal reads."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from meshq.config import (
    Settings,
    check_name,
    check_peer,
    default_key_path,
    default_state_dir,
    find_key_path,
    load_settings,
    sources,
    state_dir,
)
from meshq.config import settings as settings_module
from meshq.config.settings import cpu_count
from meshq.errors import ConfigError


def load(tmp_path: Path, flags: dict[str, object] | None = None, **environ: str) -> Settings:
    """Load the settings as in a directory of their own."""
    (tmp_path / ".git").mkdir(exist_ok=True)
    return load_settings(flags, environ=environ, cwd=tmp_path)


@pytest.fixture(autouse=True)
def _homes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))


def test_defaults(tmp_path: Path) -> None:
    """Without flags, variables and files every setting has its default."""
    settings = load(tmp_path)
    assert settings == Settings()
    assert (settings.mesh, settings.name, settings.slots) == ("default", "node", cpu_count())
    assert settings.grace is None
    assert (settings.no_nodes_timeout, settings.outbox_bytes, settings.mdns) == (30.0, 1 << 30, True)
    assert set(sources(settings).values()) == {"default"}


def test_flag_beats_environment_beats_file(tmp_path: Path) -> None:
    """Each source yields to the one above it, and the settings can say which one won."""
    (tmp_path / "meshq.toml").write_text('mesh = "file"\nslots = 2\nname = "file"\n')
    settings = load(tmp_path, {"mesh": "flag"}, MESHQ_MESH="variable", MESHQ_SLOTS="3")
    assert (settings.mesh, settings.slots, settings.name) == ("flag", 3, "file")
    assert sources(settings) == {
        **sources(Settings()),
        "mesh": "flag --mesh",
        "slots": "environment MESHQ_SLOTS",
        "name": str(tmp_path / "meshq.toml"),
    }


def test_what_is_not_given_does_not_count(tmp_path: Path) -> None:
    """None, an empty tuple and an empty variable leave the setting to the next source."""
    settings = load(tmp_path, {"mesh": None, "peers": ()}, MESHQ_PEERS="tcp://10.0.0.5:5555", MESHQ_NAME="")
    assert settings.mesh == "default"
    assert settings.peers == ("tcp://10.0.0.5:5555",)
    assert settings.name == "node"


def test_false_is_given(tmp_path: Path) -> None:
    """A flag that says no beats a variable that says yes."""
    assert load(tmp_path, {"insecure": False}, MESHQ_INSECURE="1").insecure is False
    assert load(tmp_path, MESHQ_INSECURE="yes").insecure is True


def test_every_setting_from_text(tmp_path: Path) -> None:
    """Each variable is read into the setting's type, with lists split at commas."""
    settings = load(
        tmp_path,
        MESHQ_PEERS="tcp://a:1, tcp://[fe80::1]:65535,tcp://a:1",
        MESHQ_KEY="keys/mesh.key",
        MESHQ_BIND="::1",
        MESHQ_PORT="5555",
        MESHQ_MODULES="photos,shop.orders",
        MESHQ_ALLOW="operator,math:s*",
        MESHQ_ALLOW_PICKLE="on",
        MESHQ_TAGS="gpu,big",
        MESHQ_STATE="/var/lib/meshq",
        MESHQ_GRACE="7.5",
        MESHQ_MAX_TASKS_PER_CHILD="100",
        MESHQ_LOG_LEVEL="DEBUG",
        MESHQ_LOG_FORMAT="json",
        MESHQ_NO_NODES_TIMEOUT="2.5",
        MESHQ_OUTBOX_BYTES="256 MiB",
        MESHQ_HOLD_BYTES="2GB",
        MESHQ_MDNS="false",
    )
    assert settings.peers == ("tcp://a:1", "tcp://[fe80::1]:65535")
    assert settings.key == tmp_path / "keys" / "mesh.key"
    assert (settings.bind, settings.port, settings.mdns) == ("::1", 5555, False)
    assert (settings.modules, settings.allow) == (("photos", "shop.orders"), ("operator", "math:s*"))
    assert (settings.allow_pickle, settings.tags) == (True, ("gpu", "big"))
    assert settings.grace == 7.5
    assert (settings.state, settings.max_tasks_per_child) == (Path("/var/lib/meshq"), 100)
    assert (settings.log_level, settings.log_format) == ("debug", "json")
    assert (settings.no_nodes_timeout, settings.outbox_bytes) == (2.5, 256 << 20)
    assert settings.hold_bytes == 2_000_000_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mesh", "two words"),
        ("mesh", ""),
        ("mesh", "é"),
        ("name", "x" * 65),
        ("name", "a@b"),
        ("tags", ["gpu", "no,comma"]),
        ("tags", 3),
        ("peers", "10.0.0.5:5555"),
        ("peers", "tcp://10.0.0.5"),
        ("peers", "tcp://host:0"),
        ("peers", "tcp://host:65536"),
        ("bind", "tcp://0.0.0.0"),
        ("bind", "1:2"),
        ("bind", 5),
        ("port", "0"),
        ("port", 65535),
        ("port", True),
        ("slots", "0"),
        ("slots", "two"),
        ("slots", 100_000),
        ("slots", 1.5),
        ("insecure", "perhaps"),
        ("insecure", 2),
        ("modules", "photos.py"),
        ("modules", ["a b"]),
        ("allow", ":add"),
        ("allow", "operator:"),
        ("key", 7),
        ("key", "\0"),
        ("state", " "),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("no_nodes_timeout", "-1"),
        ("no_nodes_timeout", "nan"),
        ("no_nodes_timeout", "soon"),
        ("no_nodes_timeout", True),
        ("hold_bytes", "0 MiB"),
        ("hold_bytes", 1),
        ("hold_bytes", "1023 KiB"),
        ("hold_bytes", "10 PiB"),
        ("hold_bytes", "9" * 400),
        ("outbox_bytes", "0"),
        ("outbox_bytes", "lots"),
        ("outbox_bytes", 1.5),
        ("max_tasks_per_child", "-3"),
        ("grace", "-1"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, name: str, value: object) -> None:
    """A wrong value is an error that names the setting, where it was given, and the value."""
    with pytest.raises(ConfigError, match=rf"^flag \S+: {name} must be .*got ") as caught:
        load(tmp_path, {name: value})
    assert str(caught.value).isprintable()


def test_errors_name_their_source(tmp_path: Path) -> None:
    """The same mistake is reported for the flag, the argument, the variable or the file that made it."""
    with pytest.raises(ConfigError, match=r"^flag --tag: tags must"):
        load(tmp_path, {"tags": ["a b"]})
    with pytest.raises(ConfigError, match=r"^argument slots: slots must be a whole number from 1 to 1024"):
        load_settings({"slots": 0}, environ={}, cwd=tmp_path, given_as="argument")
    with pytest.raises(ConfigError, match=r"^environment MESHQ_SLOTS: slots must"):
        load(tmp_path, MESHQ_SLOTS="many")
    (tmp_path / "meshq.toml").write_text('slots = "many"\n')
    with pytest.raises(ConfigError, match=r"meshq\.toml: slots must"):
        load(tmp_path)


def test_a_module_given_as_a_file_is_explained(tmp_path: Path) -> None:
    """``photos.py`` is answered with the name to give."""
    with pytest.raises(ConfigError, match=r"give the module's name, 'photos'"):
        load(tmp_path, {"modules": ["photos.py"]})


def test_unknown_names_are_answered_with_close_ones(tmp_path: Path) -> None:
    """A misspelt setting is an error in a file or as a flag, and the error knows the right spelling."""
    with pytest.raises(ConfigError, match=r"flags: there is no setting 'slot'; did you mean slots"):
        load(tmp_path, {"slot": 1})
    (tmp_path / "meshq.toml").write_text("peer = []\n")
    with pytest.raises(ConfigError, match=r"meshq\.toml: there is no setting 'peer'; did you mean peers"):
        load(tmp_path)
    (tmp_path / "meshq.toml").write_text("xyzzy = 1\n")
    with pytest.raises(ConfigError, match=r"'xyzzy'; the settings are mesh, key, "):
        load(tmp_path)


def test_unknown_variables_earn_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unknown ``MESHQ_*`` is ignored with a warning; those that nodes set for workers are not mentioned."""
    with caplog.at_level(logging.WARNING, "meshq"):
        load(tmp_path, MESHQ_SLOT="1", MESHQ_WORKER="7", OTHER="x")
    assert [record.getMessage() for record in caplog.records] == [
        "unknown variable MESHQ_SLOT is ignored; did you mean slots?"
    ]


def test_pyproject_counts_if_it_has_the_table(tmp_path: Path) -> None:
    """``[tool.meshq]`` is read, with dashes or underscores; a pyproject.toml without it is passed by."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.meshq]\nmax-tasks-per-child = 5\nkey = "mesh.key"\n')
    (below / "pyproject.toml").write_text("[project\n")
    settings = load_settings(environ={}, cwd=below)
    assert settings.max_tasks_per_child == 5
    assert settings.key == tmp_path / "mesh.key"


def test_meshq_toml_comes_before_pyproject(tmp_path: Path) -> None:
    """In one directory ``meshq.toml`` is the one that counts."""
    (tmp_path / "pyproject.toml").write_text('[tool.meshq]\nmesh = "pyproject"\n')
    (tmp_path / "meshq.toml").write_text('mesh = "own"\n')
    assert load(tmp_path).mesh == "own"


def test_the_search_stops_at_the_repository(tmp_path: Path) -> None:
    """A file above the directory that holds ``.git`` belongs to something else."""
    (tmp_path / "meshq.toml").write_text('mesh = "outside"\n')
    inside = tmp_path / "repository" / "src"
    inside.mkdir(parents=True)
    assert load_settings(environ={}, cwd=inside).mesh == "outside"
    (tmp_path / "repository" / ".git").mkdir()
    assert load_settings(environ={}, cwd=inside).mesh == "default"


@pytest.mark.parametrize("text", ["mesh = ", "\udcff"], ids=["syntax", "encoding"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    """A file that is no TOML is an error that names it."""
    (tmp_path / "meshq.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"meshq\.toml cannot be read as TOML"):
        load(tmp_path)


def test_the_table_must_be_a_table(tmp_path: Path) -> None:
    """``tool.meshq`` that is no table is an error."""
    (tmp_path / "pyproject.toml").write_text("[tool]\nmeshq = 3\n")
    with pytest.raises(ConfigError, match=r"tool\.meshq must be a table"):
        load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_a_planted_file_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another user's file in a directory where anybody may write, such as /tmp, decides nothing."""
    shared, work = tmp_path / "shared", tmp_path / "shared" / "work"
    work.mkdir(parents=True)
    shared.chmod(0o1777)
    (shared / "meshq.toml").write_text('mesh = "planted"\n')
    os.chown(shared / "meshq.toml", 12345, 12345)
    assert load(work).mesh == "default"
    (work / ".git").rmdir()
    assert load_settings(environ={}, cwd=work).mesh == "default"
    assert "another user's" in caplog.text
    os.chown(shared / "meshq.toml", 0, 0)
    assert load_settings(environ={}, cwd=work).mesh == "planted"


def test_paths_follow_the_user(tmp_path: Path) -> None:
    """The key and the state lie in the user's directories; ``~`` and the settings are heeded."""
    assert default_key_path() == tmp_path / "xdg-config" / "meshq" / "mesh.key"
    assert default_state_dir() == tmp_path / "xdg-state" / "meshq"
    assert state_dir(Settings()) == default_state_dir()
    assert state_dir(load(tmp_path, {"state": "here"})) == tmp_path / "here"
    assert load(tmp_path, {"key": "~/k"}).key == Path.home() / "k"


def test_the_default_key_is_used_if_it_exists(tmp_path: Path) -> None:
    """No key is needed; the one at the default path is used; insecure leaves it aside."""
    assert find_key_path(load(tmp_path)) is None
    default_key_path().parent.mkdir(parents=True)
    default_key_path().write_text("key")
    assert find_key_path(load(tmp_path)) == default_key_path()
    assert find_key_path(load(tmp_path, {"insecure": True})) is None


def test_an_explicit_key_must_exist(tmp_path: Path) -> None:
    """A key path that leads nowhere is an error, never a mesh without a key."""
    with pytest.raises(ConfigError, match=r"^environment MESHQ_KEY: there is no key file .*meshq key new"):
        find_key_path(load(tmp_path, MESHQ_KEY="mesh.key"))
    (tmp_path / "mesh.key").write_text("key")
    assert find_key_path(load(tmp_path, MESHQ_KEY="mesh.key")) == tmp_path / "mesh.key"


def test_a_key_and_insecure_exclude_each_other(tmp_path: Path) -> None:
    """Who asks for both is told which is from where."""
    with pytest.raises(ConfigError, match=r"environment MESHQ_KEY.*flag --insecure.*exclude"):
        find_key_path(load(tmp_path, {"insecure": True}, MESHQ_KEY="mesh.key"))


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("2k", 2000), ("1.5KiB", 1536), ("2 GB", 2_000_000_000), ("10TiB", 10 << 40)]
)
def test_sizes(tmp_path: Path, text: str, size: int) -> None:
    """Sizes are plain bytes, or carry a unit."""
    assert load(tmp_path, {"outbox_bytes": text}).outbox_bytes == size


def test_a_node_that_could_hold_next_to_nothing_is_refused(tmp_path: Path) -> None:
    """The least that it takes is named, and for a unit that nobody knows those that there are."""
    assert load(tmp_path, {"hold_bytes": "1MiB"}).hold_bytes == 1 << 20
    with pytest.raises(ConfigError, match=r"^flag --hold: hold_bytes must be 1 MiB \(1048576 bytes\) or more"):
        load(tmp_path, {"hold_bytes": "1"})
    with pytest.raises(ConfigError, match=r"units: B, KB, MB, GB, TB.*KiB, MiB, GiB, TiB"):
        load(tmp_path, {"hold_bytes": "10 PiB"})


def test_checks_for_other_rooms() -> None:
    """Names and endpoints from elsewhere are checked by the same rules, in the caller's words."""
    assert check_name("mesh name", "photos-2.0_x") == "photos-2.0_x"
    assert check_peer("peer", "tcp://host:5555") == "tcp://host:5555"
    with pytest.raises(ConfigError, match=r"^mesh name must be 1 to 64"):
        check_name("mesh name", "a/b")
    with pytest.raises(ConfigError, match=r"^peer must be tcp://HOST:PORT"):
        check_peer("peer", "host:1")


def test_settings_are_frozen() -> None:
    """Nobody changes the settings of a running node behind its back."""
    with pytest.raises(AttributeError):
        Settings().mesh = "other"  # type: ignore[misc]


def test_a_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current directory that was deleted is named as the trouble."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="current directory no longer exists"):
        load_settings(environ={})


@pytest.mark.parametrize(
    ("memory", "container", "held"),
    [
        (64 << 30, None, 1 << 30), (2 << 30, None, 512 << 20), (64 << 30, "max\n", 1 << 30),
        (64 << 30, "1073741824\n", 256 << 20), (None, None, 1 << 30),
    ],
)  # fmt: skip
def test_a_node_holds_a_quarter_of_the_memory_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int | None, container: str | None, held: int
) -> None:
    """Of the machine's or of the container's, and 1 GiB where that is more, or nobody knows."""

    def sysconf(name: str) -> int:
        if memory is None:
            raise ValueError("unrecognized configuration name")
        return {"SC_PHYS_PAGES": memory // 4096, "SC_PAGE_SIZE": 4096}[name]

    limit = tmp_path / "memory.max"
    if container is not None:
        limit.write_text(container)
    monkeypatch.setattr("os.sysconf", sysconf)
    monkeypatch.setattr(settings_module, "_CGROUP_LIMIT", str(limit))
    assert Settings().hold_bytes == held
