"""What a terminal shows of a sweep while it goes on: bars where somebody looks, else a line for each run that ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cflows_core.sweep.running import Progress, last_step

if TYPE_CHECKING:
    from rich.console import Console

MOST_BARS = 8
WIDE, COUNT = 110, 18  # characters: of a terminal for long bars, and of the counts behind a bar


@contextmanager
def shown(out: Console, quiet: bool, live: bool) -> Iterator[Callable[[Progress], None]]:
    """Yields what to call with the progress. live: draw bars."""
    if quiet:
        yield lambda progress: None
    elif live:
        with _bars(out) as update:
            yield update
    else:
        yield _lines(out)


def _lines(out: Console) -> Callable[[Progress], None]:
    told: set[str] | None = None

    def update(progress: Progress) -> None:
        nonlocal told
        total = len(progress.sweep.configs)
        if told is None:
            told = set(progress.outcomes)
            if told:
                out.print(f"{len(told)} of {total} runs were finished before.", markup=False, soft_wrap=True)
        for name in progress.outcomes.keys() - told:
            told.add(name)
            out.print(f"{len(told)} of {total}: {sentence(progress, name)}{left(progress)}", markup=False, soft_wrap=True)

    return update


def sentence(progress: Progress, name: str) -> str:
    """ "optimizer=gd lr=0.3: finished." """
    outcome = progress.outcomes[name]
    return f"{progress.sweep.labels[name]}: {outcome.state}. {outcome.sentence}".rstrip()


def left(progress: Progress) -> str:
    seconds = progress.seconds_left
    if seconds is None or len(progress.outcomes) == len(progress.sweep.configs):
        return ""
    return f" About {timedelta(seconds=round(seconds))} left."


@contextmanager
def _bars(out: Console) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.table import Column
    from rich.text import Text

    said = Text("Starting.")

    class Headed(Bars):
        def get_renderables(self) -> Iterator[Any]:
            yield said
            yield from super().get_renderables()

    bar = 40 if out.width >= WIDE else 20
    label = Column(no_wrap=True, overflow="ellipsis", max_width=max(out.width - bar - COUNT, 8))
    columns = (TextColumn("{task.description}", markup=False, table_column=label), BarColumn(bar), MofNCompleteColumn())
    with Headed(*columns, console=out, transient=True) as bars:
        whole = bars.add_task("steps", total=None)
        runs: dict[str, Any] = {}
        told: set[str] = set()

        def update(progress: Progress) -> None:
            total = len(progress.sweep.configs)
            elsewhere = f" {len(progress.elsewhere)} computed elsewhere." if progress.elsewhere else ""
            after = f"{len(progress.outcomes)} of {total} runs.{elsewhere}{left(progress)}"
            said.plain = after
            bars.update(whole, total=progress.steps, completed=progress.step)
            for name in progress.outcomes.keys() - told:
                told.add(name)
                if progress.outcomes[name].sentence:
                    bars.console.print(sentence(progress, name), markup=False, soft_wrap=True)
            going = [name for name in progress.reached if name not in progress.outcomes][:MOST_BARS]
            for name in runs.keys() - set(going):
                bars.remove_task(runs.pop(name))
            for name in going:
                if name not in runs:
                    runs[name] = bars.add_task(progress.sweep.labels[name], total=last_step(progress.sweep.configs[name]))
                bars.update(runs[name], completed=progress.reached[name])

        yield update
