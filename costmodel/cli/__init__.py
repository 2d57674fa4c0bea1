"""The command line: each verb parses its words, calls one public function and reports."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from costmodel.cli.calibrating import accuracy, calibrate
from costmodel.cli.counting import count, memory
from costmodel.cli.listing import devices, ops
from costmodel.cli.networks import zoo
from costmodel.cli.predicting import compare, predict
from costmodel.cli.sweeping import sweep
from costmodel.errors import CostModelError
from costmodel.version import __version__

CANNOT = 1
VERBS: tuple[Callable[..., None], ...] = (count, memory, predict, sweep, compare, zoo, devices, ops, calibrate, accuracy)

app = typer.Typer(
    name="costmodel",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in VERBS:
    app.command()(verb)


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"costmodel {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """What a neural network will cost, before it is trained or run.

    MODEL is the path of an ONNX file, the name of a network of the zoo, or a network of a spec file of your own
    (net.toml:name). Exit codes: 0 done, 1 cannot (the message says
    why and what helps), 2 misuse.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on these words, or on the process's own, and leave with its exit code."""
    from costmodel.report.output import complain

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of layers and files hold any letter
    try:
        app(None if arguments is None else list(arguments), prog_name="costmodel")
    except CostModelError as error:
        complain(str(error))
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    sys.exit(CANNOT)
