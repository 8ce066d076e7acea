"""The command line's grammar: subcommands, and one flag for each field of `RunConfig` with its bounds and sentence."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import param

from cflows_core._version import __version__
from cflows_core.config import RunConfig, problem_of_file
from cflows_core.errors import CflowsError, ConfigError
from cflows_core.written import changes, number

LOG_LEVELS = ("debug", "info", "warning", "error")
_GROUP_TITLES = {"problem": "problem", "optimizer": "optimizer", "flows": "flows", "run": "how to run"}


class UsageError(CflowsError):
    """A command line that does not parse."""


class SentenceParser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, raised rather than printed under a page of usage."""

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument (\S+): ", r"\1: ", message).rstrip(".")
        raise UsageError(f"{message}; `{self.prog} --help` lists what can be said.")

    def flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]


def flag(field: str) -> str:
    """`n_train` -> `--n-train`."""
    return "--" + field.replace("_", "-")


def build() -> SentenceParser:
    """The parser of `cflows`; the namespace's `command` names the subcommand."""
    parser = SentenceParser(
        prog="cflows",
        description="An optimizer beside its stable, central and rod flows, at the edge of stability.",
        epilog="Start with: cflows app, or cflows presets.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cflows {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=SentenceParser)

    run = commands.add_parser(
        "run",
        help="run an optimizer and its flows",
        description="Runs an optimizer and its flows, stores the run if --out is given, and prints a summary.",
        allow_abbrev=False,
    )
    run.add_argument("--preset", metavar="NAME", help="start from this named configuration; other flags change it")
    _add_problem(run, "train what make_objective() in this Python file returns, in place of a data set and a model", "store")
    run.add_argument("--out", metavar="PATH", help="store the run in this new Zarr directory, e.g. runs/first.zarr")
    run.add_argument("--until", type=number, metavar="STEP", help="pause after this optimizer step; `cflows resume` goes on")
    run.add_argument("--quiet", action="store_true", help="print nothing but errors")
    _add_config_flags(run)

    resume = commands.add_parser(
        "resume",
        help="continue a stored run from its last checkpoint",
        description="Continues a stored run from its last checkpoint, after an interruption or beyond its end.",
        allow_abbrev=False,
    )
    resume.add_argument("path", metavar="PATH", help="a run that `cflows run --out PATH` stored")
    resume.add_argument("--steps", type=number, metavar="N", help="go on N steps beyond the end that the run has now")
    _add_problem(resume, "the file again, for a run that was started with one", "store")
    resume.add_argument("--quiet", action="store_true", help="print nothing but errors")

    _add_sweep(commands)
    commands.add_parser("presets", help="list the named configurations", allow_abbrev=False)

    table = commands.add_parser(
        "table",
        help="named configurations side by side, as a Markdown table",
        description="Runs named configurations and prints how far each flow is from its optimizer, and what it predicts, as Markdown.",
        allow_abbrev=False,
    )
    table.add_argument("presets", metavar="PRESET", nargs="*", help="names of presets, in place of --of")
    table.add_argument(
        "--of",
        default="mlp",
        metavar="SET",
        help="mlp, cnn: nine optimizers; momentum: long runs; architectures: seven models [default mlp]",
    )
    table.add_argument("--steps", type=number, default=0, metavar="N", help="steps after the warm start [default: the set's own]")

    figure = commands.add_parser(
        "figure",
        help="the papers' figures: what each shows, measured and drawn",
        description="Draws figures of the papers at this machine's scale, from stored runs or computed now, and measures what each shows. "
        "Without a name, lists them.",
        allow_abbrev=False,
    )
    figure.add_argument("names", metavar="NAME", nargs="*", help="such as cf-5")
    figure.add_argument("--all", action="store_true", help="all figures")
    figure.add_argument("--out", metavar="DIR", help="draw them in this folder, or in this .html file")
    figure.add_argument("--runs", default="runs/figures", metavar="DIR", help="where runs are looked for and stored [default runs/figures]")
    figure.add_argument("--again", action="store_true", help="compute the runs, also where they are stored")
    figure.add_argument(
        "--paper-scale", action="store_true", help="the paper's own setting where its text gives it; needs a GPU and CIFAR-10"
    )
    figure.add_argument("--device", metavar="NAME", help="cpu or cuda, for what is computed")
    figure.add_argument("--markdown", action="store_true", help="print what was found of every figure as a table, and nothing else")
    figure.add_argument("--quiet", action="store_true", help="print nothing but errors")

    app = commands.add_parser(
        "app",
        help="open the dashboard",
        description="Serves the dashboard until Ctrl-C, to this machine only unless --public says otherwise (docs/operating.md).",
        allow_abbrev=False,
    )
    app.add_argument("--port", type=number, default=5006, metavar="N", help="0: any free one [default 5006]")
    app.add_argument("--address", default="127.0.0.1", metavar="HOST", help="where to listen [default 127.0.0.1]")
    app.add_argument("--show", action="store_true", help="open a browser")
    app.add_argument("--workers", type=number, default=1, metavar="N", help="worker processes [default 1]")
    app.add_argument("--threads", type=number, default=1, metavar="N", help="CPU threads of each simulation [default 1]")
    _add_problem(app, "offer what make_objective() in this Python file returns; may be given several times", "append")
    app.add_argument("--runs", default="runs", metavar="DIR", help="where runs are kept, opened and compared [default runs]")
    app.add_argument("--lessons", metavar="DIR", help="a folder of lessons of your own (docs/lessons.md)")
    _add_scheduler(app)
    _add_limits(app)
    _add_hosting(app)

    check = commands.add_parser(
        "check",
        help="are stored runs whole? mends what can be mended",
        description="Compares every file of stored runs with what was committed, a line a run. Without --repair nothing is written.",
        allow_abbrev=False,
    )
    check.add_argument("paths", metavar="PATH", nargs="+", help="a run, packed or not, or a folder that holds runs at any depth")
    check.add_argument("--repair", action="store_true", help="mend what can be mended, and keep what is cut as a file ending in .aside")

    commands.add_parser("doctor", help="what is installed and found, and a one-second self-check", allow_abbrev=False)
    return parser


def _add_sweep(commands: Any) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="many configurations from one file, computed by workers",
        description="Computes every configuration that a YAML or JSON file asks for (docs/sweeps.md), each once, and makes one table "
        "and one overview of them. The same command goes on where it was interrupted.",
        allow_abbrev=False,
    )
    sweep.add_argument("spec", metavar="SPEC", help="the file, such as rates.yaml")
    sweep.add_argument("--out", metavar="DIR", help="where the runs are stored [default runs/NAME]; a cluster's workers must see it too")
    sweep.add_argument("--workers", type=number, default=1, metavar="N", help="worker processes; 0: compute in this process [default 1]")
    sweep.add_argument("--threads", type=number, default=1, metavar="N", help="CPU threads of each run [default 1]")
    _add_scheduler(sweep)
    _add_problem(sweep, "train what make_objective() in this Python file returns, in place of a data set and a model", "store")
    sweep.add_argument("--over", metavar="FIELD,FIELD", help="the overview's colours and rows [default lr,optimizer if these are swept]")
    sweep.add_argument("--dry-run", action="store_true", help="list what would be computed")
    sweep.add_argument("--table", action="store_true", help="print the table as Markdown")
    sweep.add_argument("--quiet", action="store_true", help="print nothing but errors, and the table if it is asked for")


def _add_scheduler(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scheduler", default="", metavar="HOST:PORT", help="compute on this Dask scheduler's workers instead")


def _add_limits(app: argparse.ArgumentParser) -> None:
    """What is computed at a time, and for one visitor."""
    limits = app.add_argument_group("what visitors may have computed (0: any number)")
    for name, most, default in (
        ("--at-once", "runs that compute at a time, the others take turns", 16),
        ("--max-runs", "runs of one visitor at a time", 0),
        ("--max-steps", "steps of one run", 0),
        ("--max-weights", "weights of one model", 0),
    ):
        limits.add_argument(name, type=number, default=default, metavar="N", help=f"{most} [default {default}]")


def _add_hosting(app: argparse.ArgumentParser) -> None:
    """Who may reach the dashboard, and what its operator hears of it; secrets come from files and the environment alone."""
    door = app.add_argument_group("others may come in")
    door.add_argument("--public", action="store_true", help="let other machines in: needs a login, and --origin")
    door.add_argument(
        "--origin", metavar="HOST", action="append", default=[], help="a name by which browsers reach it; any number of times"
    )
    door.add_argument("--password-file", metavar="FILE", help="the password that visitors type, in place of the variable CFLOWS_PASSWORD")
    door.add_argument("--no-login", action="store_true", help="let everyone in who finds it, for a lecture")
    door.add_argument("--proxied", action="store_true", help="it stands behind a reverse proxy, whose word on addresses and TLS it takes")
    door.add_argument("--certificate", metavar="FILE", help="serve TLS by this certificate")
    door.add_argument("--certificate-key", metavar="FILE", help="the certificate's key")
    door.add_argument("--plain-http", action="store_true", help="accept that the password travels in the open")
    door.add_argument("--limit", metavar="NAME=N", action="append", default=[], help="such as visitors=50 (docs/operating.md)")
    app.add_argument("--log-json", action="store_true", help="log one JSON object a line")
    app.add_argument(
        "--log-level", metavar="LEVEL", choices=LOG_LEVELS, help="debug, info, warning, error [default warning; --public: info]"
    )


def _add_problem(parser: argparse.ArgumentParser, meaning: str, action: str) -> None:
    parser.add_argument("--problem", metavar="FILE.py", action=action, help=f"{meaning} (docs/your-model.md); the file is executed")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses a command line; raises `UsageError`, one sentence, naming flags close to one that does not exist."""
    parser = build()
    arguments, unknown = parser.parse_known_args(_join_negative_numbers(argv))
    if unknown:
        # The subparser holds the flags that could have been meant.
        commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        chosen = commands.choices.get(arguments.command, parser)
        close = difflib.get_close_matches(unknown[0].split("=")[0], chosen.flags(), n=2)
        hint = f"did you mean {' or '.join(close)}?" if close else f"`{chosen.prog} --help` lists what can be said."
        raise UsageError(f"`{chosen.prog}` does not know {unknown[0]}: {hint}")
    return arguments


def config_of(arguments: argparse.Namespace) -> RunConfig:
    """The configuration that `cflows run` was asked for: a preset, or the defaults, with the given flags on top."""
    given = {name: getattr(arguments, name) for name in RunConfig.fields() if hasattr(arguments, name)}
    if arguments.problem is not None:
        if "dataset" in given:
            raise UsageError(f"`--problem` takes the place of a data set, got --dataset {given['dataset']} as well: leave one out.")
        given = {**problem_of_file(own_problem(arguments.problem)), **given}
    if arguments.preset is None:
        return RunConfig(**given)
    from cflows_core import presets

    return presets.get(arguments.preset).config.replace(**given)


def own_problem(path: str) -> str:
    """Let configurations name the problem file at `path`; how they do. Raises `ModelError`."""
    from cflows_core.problems import files

    file = files.ProblemFile.read(path)
    files.use([file])
    return file.dataset


def _add_config_flags(parser: argparse.ArgumentParser) -> None:
    for group, fields in RunConfig.GROUPS.items():
        section = parser.add_argument_group(_GROUP_TITLES.get(group, group))
        for field in fields:
            parameter = RunConfig.param[field]
            convert, metavar = _kind(parameter)
            if field == "changes":
                convert, metavar = _changes, "STEP:FIELD=VALUE,..."
            # SUPPRESS: only what is given enters the namespace, so that a preset's own values survive.
            section.add_argument(
                flag(field),
                dest=field,
                type=convert,
                metavar=metavar,
                default=argparse.SUPPRESS,
                help=_help(field, parameter),
            )


def _kind(parameter: Any) -> tuple[Any, str]:
    """Converter and placeholder of a parameter. RunConfig judges the value, so that the rule is written once."""
    if isinstance(parameter, param.ListSelector):
        return str, "NAME,..."
    if isinstance(parameter, param.Selector):
        return str, "NAME"
    if isinstance(parameter, param.String):
        return str, "TEXT"
    return number, "N" if isinstance(parameter, param.Integer) else "X"


def _help(field: str, parameter: Any) -> str:
    unit = RunConfig.UNITS.get(field, "")
    facts = []
    if isinstance(parameter, param.Selector):
        choices = ", ".join(map(str, parameter.objects))
        facts.append(f"any of {choices}" if isinstance(parameter, param.ListSelector) else choices)
    elif getattr(parameter, "bounds", None):
        low, high = parameter.bounds
        least = "at least" if parameter.inclusive_bounds[0] else "above"
        facts.append(f"{least} {low:g}" if high is None else f"{low:g} to {high:,}")
    if unit:
        facts.append(unit)
    default = parameter.default
    if not isinstance(default, (list, tuple)):
        facts.append(f"default {default}")
    elif default:
        facts.append("default " + ",".join(default))
    return f"{parameter.doc} [{'; '.join(facts)}]".replace("%", "%%")


def _changes(text: str) -> list[tuple[int, str, Any]]:
    """`changes` as argparse wants it: what is wrong is said in its way."""
    try:
        return changes(text)
    except ConfigError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _join_negative_numbers(argv: Sequence[str]) -> list[str]:
    """`--lr -1e-3` -> `--lr=-1e-3`: argparse would take the number for a flag, and hide the real rule from the user."""
    joined: list[str] = []
    for word in argv:
        negative = word.startswith("-") and not word.startswith("--") and isinstance(number(word), (int, float))
        if negative and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined
