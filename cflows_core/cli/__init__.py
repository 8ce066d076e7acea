"""The command `cflows`: run, resume, sweep, presets, table, figure, app, check, doctor.

Whatever a user does wrong, or the disk, or Ctrl-C, ends in one sentence on standard error. Exit codes: 0 done; 1 the
optimizer diverged, a run of a sweep failed, a stored run is damaged, or the self-check failed; 2 something must be
changed (the sentence says what); 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cflows_core.errors import CflowsError

if TYPE_CHECKING:
    from cflows_core.store import Run


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (`sys.argv[1:]` by default) and return its exit code. Raises nothing that a user can cause."""
    from cflows_core.cli import running

    try:
        return _dispatch(sys.argv[1:] if argv is None else argv)
    except SystemExit as exit_:  # argparse, after --help and --version
        return exit_.code if isinstance(exit_.code, int) else 0
    except running.Interrupted as interrupted:
        return _fail(str(interrupted), 130)
    except KeyboardInterrupt:
        return _fail("interrupted before anything was computed.", 130)
    except CflowsError as error:
        return _fail(str(error), 2)
    except BrokenPipeError:
        # The reader of our output has gone (`cflows presets | head`): that is no error, and nobody is left to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(_os_sentence(error), 2)


def _dispatch(argv: Sequence[str]) -> int:
    from cflows_core.cli import arguments, running, tables

    given = arguments.parse(argv)
    if given.command is None:
        arguments.build().print_help()
        return 0
    if given.command == "run":
        return _finish(running.start(arguments.config_of(given), given.out, given.quiet, given.until), given.quiet)
    if given.command == "resume":
        if given.problem is not None:
            arguments.own_problem(given.problem)
        return _finish(running.resume(given.path, given.steps, given.quiet), given.quiet)
    if given.command == "sweep":
        from cflows_core.cli import sweeping

        return sweeping.start(given)
    if given.command == "presets":
        tables.presets()
        return 0
    if given.command == "table":
        from cflows_core.cli import matrix

        matrix.write(matrix.chosen(given.presets, given.of, given.steps))
        return 0
    if given.command == "figure":
        from cflows_core.cli import gallery

        gallery.show(given)
        return 0
    if given.command == "app":
        return _app(given)
    if given.command == "check":
        from cflows_core.cli import checking

        return checking.run(given.paths, given.repair)
    from cflows_core.cli import doctor

    return doctor.run()


def _finish(run: Run, quiet: bool) -> int:
    from cflows_core.cli import tables

    if not quiet:
        tables.summary(run)
    diverged = [event for event in run.events if event.kind == "diverged"]
    if diverged:
        return _fail(f"At step {diverged[-1].step:,}: {diverged[-1].message}", 1)
    return 0


def _app(given: argparse.Namespace) -> int:
    if not isinstance(given.port, int) or not 0 <= given.port <= 65535:
        raise CflowsError(f"`--port` must be a whole number from 0 to 65535, got {given.port}: the default is 5006.")
    for name in ("workers", "threads"):
        value = getattr(given, name)
        if not isinstance(value, int) or value < 1:
            raise CflowsError(f"`--{name}` must be a whole number of at least 1, got {value}: the default is 1.")
    for name in ("at_once", "max_runs", "max_steps", "max_weights"):
        value = getattr(given, name)
        if not isinstance(value, int) or value < 0:
            raise CflowsError(f"`--{name.replace('_', '-')}` must be a whole number from 1 on, or 0 for any number, got {value}.")
    try:
        from cflows_app.allowance import Allowance
        from cflows_app.door.hosting import Hosting
        from cflows_app.main import serve
        from cflows_app.operation import logs
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] in ("cflows_app", "cflows_core"):
            raise  # a damaged installation, which installing the extra would not mend
        raise CflowsError(f"The dashboard needs the package {missing.name}, which is not installed: pip install 'cflows[app]'.") from None
    from cflows_core.problems.files import ProblemFile

    hosting = Hosting.read(
        given.address,
        public=given.public,
        no_login=given.no_login,
        password_file=given.password_file,
        origins=given.origin,
        proxied=given.proxied,
        plain_http=given.plain_http,
        certificate=given.certificate,
        key=given.certificate_key,
        limits=given.limit,
    )
    logs.begin(given.log_json, given.log_level or ("info" if given.public else "warning"))
    problems = [ProblemFile.read(path).checked() for path in given.problem or []]
    runs = Path(given.runs).expanduser()
    if runs.exists() and not runs.is_dir():
        raise CflowsError(f"`--runs` must name a folder, got the file {runs}: give another.")
    lessons = None if given.lessons is None else Path(given.lessons).expanduser()
    if lessons is not None and not lessons.is_dir():
        raise CflowsError(f"`--lessons` must name a folder that exists, got {lessons}: make it, and put a lesson into it.")
    options = {"workers": given.workers, "threads": given.threads, "scheduler": given.scheduler, "problems": problems}
    options |= {"at_once": given.at_once, "allowance": Allowance(given.max_runs, given.max_steps, given.max_weights)}
    serve(given.port, given.address, given.show, hosting=hosting, runs=runs, lessons=lessons, **options)
    return 0


def _os_sentence(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.EADDRINUSE, errno.EACCES) and not error.filename:
        return f"cannot listen there ({(error.strerror or str(error)).lower()}): choose another --port."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}: what was committed before is safe; free some space and try again."
    return f"{(error.strerror or str(error)).lower()}{where}."


def _fail(sentence: str, code: int) -> int:
    sys.stdout.flush()
    print("cflows: " + " ".join(sentence.split()), file=sys.stderr)
    return code
