"""What reads the words and files of those who run cflows: sweeps, command lines, the operator's flags, the journal, `cflows check`."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from typing import Any

from cflows_app.door.hosting import PASSWORD, SECRET, Hosting
from cflows_core.cli import arguments, checking
from cflows_core.config import RunConfig
from cflows_core.engine.journal import Journal
from cflows_core.errors import CflowsError
from cflows_core.store import Run
from cflows_core.store.check import check
from cflows_core.store.files import ROOT
from cflows_core.sweep import specification
from cflows_core.sweep.grid import Sweep
from tests.fuzz import sound


def _sound_sweep(found: Sweep) -> None:
    assert 1 <= len(found.configs) <= len(found.cases) <= specification.MOST
    assert not set(found.name) & set("/\\\0")
    assert not found.name.startswith(".")
    for config in found.configs.values():
        assert RunConfig.from_json(config.to_json()) == config


def sweep(plain: Any) -> None:
    """Plain values, as a file has them."""
    _sound_sweep(specification.from_plain(plain))


def sweep_file(said: tuple[str, bytes]) -> None:
    """A file with this ending and these bytes."""
    ending, content = said
    path = sound.folder() / f"bent-sweep{ending}"
    path.write_bytes(content)
    _sound_sweep(specification.read(path))


def command(argv: list[str]) -> None:
    """A command line, and the configuration that it asks to be run; nothing is run."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            given = arguments.parse(argv)
        except SystemExit as ended:  # after --help and --version
            if ended.code:
                raise RuntimeError("a command line ended the process") from ended
            return
    if given.command == "run" and given.problem is None:
        arguments.config_of(given)
    if given.command == "app":
        hosting({"address": given.address, "public": given.public, "origins": given.origin, "limits": given.limit}, {})


def hosting(flags: dict[str, Any], environment: dict[str, str] | None = None) -> None:
    """The operator's flags: whoever lets others in has said how they log in, and under which name the server is reached."""
    environment = flags.pop("environment", {}) if environment is None else environment
    found = Hosting.read(**flags, environment=environment)
    assert not {PASSWORD, SECRET} & environment.keys()
    assert found.public or flags.get("address", "localhost") in ("localhost", "127.0.0.1", "::1")
    assert found.login or not found.public or flags.get("no_login")
    assert found.origins or not found.public
    assert len(found.secret) >= 32
    assert str(found.password or found.secret) not in repr(found)
    found.names(5006)
    found.admits("someone@example.org")


def journal(document: Any) -> None:
    """A journal in which a run's root document is not what it should be: other runs are found all the same."""
    folder = sound.folder() / "journal"
    if not folder.exists():
        for name in ("bent.zarr", "whole.zarr"):
            shutil.copytree(sound.stored(), folder / name)
    (folder / "bent.zarr" / ROOT).write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    kept = Journal(folder)
    found = kept.find(RunConfig.from_dict(sound.document()["attributes"]["cflows"]["config"]))
    assert found is not None
    kept.new(RunConfig())
    assert (folder / "whole.zarr" / ROOT).exists()


def checked(said: tuple[int, int]) -> None:
    """`cflows check --repair` of a store one of whose files is damaged: what it calls whole afterwards is whole, and opens."""
    which, seed = said
    path, dice = sound.folder() / "checked.zarr", random.Random(seed)
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(sound.stored(), path)
    names = sound.files()
    file = path / names[which % len(names)]
    content = bytearray(file.read_bytes())
    at = dice.randrange(len(content) + 1)
    match dice.randrange(4):
        case 0:
            file.unlink()
        case 1:
            file.write_bytes(content[:at])
        case 2:
            content[at : at + 8] = dice.randbytes(8)
            file.write_bytes(content)
        case _:
            file.write_bytes(dice.choice((b"", b"\0" * 64, b"[" * 10**5, b'{"a": 1}', b"null")))
    checking.line(check(path))
    if check(path, repair=True).whole and path.exists():
        assert check(path).whole
        with contextlib.suppress(CflowsError):  # what is whole may still say that nothing was recorded
            Run.open(path).columns()
