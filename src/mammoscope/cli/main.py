"""The entry point: the list of commands, and the one place that turns errors into sentences and exit codes."""

import os
import sys
import traceback
from typing import Annotated

import typer
from typer.core import TyperGroup

from mammoscope.cli.audit import audit
from mammoscope.cli.demo import demo
from mammoscope.cli.doctor import doctor
from mammoscope.cli.evaluate import evaluate
from mammoscope.cli.explain import explain
from mammoscope.cli.export import export
from mammoscope.cli.find_lr import find_lr
from mammoscope.cli.index import index_app
from mammoscope.cli.inspect import inspect
from mammoscope.cli.join import join
from mammoscope.cli.predict import predict
from mammoscope.cli.prepare import prepare
from mammoscope.cli.split import split
from mammoscope.cli.synthesize import synthesize
from mammoscope.cli.train import train
from mammoscope.errors import MammoscopeError, UserInputError

_GOING_ON = dict.fromkeys(("synthesize", "prepare", "train"), "; the same command goes on where it was") | {
    "predict": "; the same command with --resume goes on where it was"
}


class _Commands(TyperGroup):
    """The commands, of which each may be stopped by Ctrl-C."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # typer's own base class is private
        """Run a command; Ctrl-C gives one sentence and exit code 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if _other_process():
                raise typer.Exit(130) from None
            going_on = _GOING_ON.get(str(ctx.invoked_subcommand), "")
            sys.stderr.write(f"stopped by Ctrl-C{going_on}\n")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Commands,
    name="mammoscope",
    help="Find breast cancer in screening mammograms: DICOM files in, evidence out.\n\n"
    "Research software, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(synthesize)
app.add_typer(index_app, name="index")
app.command()(audit)
app.command()(join)
app.command()(inspect)
app.command()(prepare)
app.command()(split)
app.command("find-lr")(find_lr)
app.command()(train)
app.command()(evaluate)
app.command()(predict)
app.command()(export)
app.command()(explain)
app.command()(doctor)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # the signature is typer's
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"mammoscope {version('mammoscope')}\n")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # read in main()
    version: Annotated[  # an eager option: the callback has done the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before the command."""


def main() -> None:
    """Run the command line; exit code 0 done, 2 the user's input, 1 our failure."""
    try:
        app()
    except Exception as error:  # noqa: BLE001  # the last guard before the user
        sys.exit(_report(error))


def _other_process() -> str:
    """Which one this is of several processes of torchrun, for all but the first, whose sentences are the user's."""
    rank = os.environ.get("RANK", "0") if "TORCHELASTIC_RUN_ID" in os.environ else "0"
    return "" if rank == "0" else f" in process {rank}"


def _report(error: Exception) -> int:
    if "--debug" in sys.argv:
        traceback.print_exception(error)
    sys.stderr.write(f"error{_other_process()}: {_sentence(error)}\n")
    return 2 if isinstance(error, UserInputError | OSError) else 1


def _sentence(error: Exception) -> str:
    if isinstance(error, MammoscopeError):
        return str(error)
    if isinstance(error, OSError):
        where, what = error.filename or "file system", error.strerror or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            return f"{where}: found a file, expected a folder; name another"
        return f"{where}: {what}; check the path, the rights and the free space"
    if isinstance(error, MemoryError):
        return "not enough memory; work with fewer processes (--workers 1) or smaller pictures"
    return (
        f"internal: {type(error).__name__}: {error}; this is a defect of mammoscope, "
        "please report it with the output of `mammoscope --debug …`"
    )


if __name__ == "__main__":
    main()
