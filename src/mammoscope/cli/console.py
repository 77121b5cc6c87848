"""What every command shares: progress bars and summaries, in one look. Progress goes to stderr, results to stdout."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON, for machines.")]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Processes to work in; 0 means one for each core.")
]


def resolve_workers(n_workers: int) -> int:
    """The number of processes that `--workers` asks for."""
    from mammoscope.scaling import count_cores

    return n_workers or count_cores()


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with rate and time left; yields the function that advances it by n.

    It shows with the first step, so that no empty bar stands before the sentence of a refusal.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Task as ProgressTask
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: ProgressTask) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    task = progress.add_task(title, total=total)

    def advance(n: int) -> None:
        progress.start()  # does nothing when it has started
        progress.advance(task, n)

    try:
        yield advance
        progress.start()  # nothing to do is shown too
    finally:
        if progress.live.is_started:
            progress.stop()


def print_summary(title: str, facts: Mapping[str, object], *, as_json: bool) -> None:
    """What was done, refused and written: aligned lines, or one JSON object (without NaN)."""
    if as_json:
        sys.stdout.write(json.dumps(facts, default=_path_to_json, ensure_ascii=False, allow_nan=False) + "\n")
        return
    width = max((len(key) for key in facts), default=0)
    lines = [title, *(f"  {key.replace('_', ' '):<{width}}  {_to_text(value)}" for key, value in facts.items())]
    sys.stdout.write("\n".join(lines) + "\n")


def _to_text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _path_to_json(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a summary holds a {type(value).__name__}, expected text, numbers, lists and paths")


def warn(sentence: str) -> None:
    """One line on stderr that does not end the command."""
    sys.stderr.write(f"warning: {sentence}\n")
