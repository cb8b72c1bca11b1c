"""What every command line does alike: parse, run, and turn a user's mistake into one line and exit code 2."""

import io
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import tyro

from jaxprune.attacks import RenamedWarning
from jaxprune.errors import SpecError
from jaxprune.interrupt import exit_code

Arguments = TypeVar("Arguments")


EXTENSIONS = "JAXPRUNE_EXTENSIONS"
"""Names the modules, a comma list, that list further attacks, bounds, scores, tasks or regularisers."""


def run_command(
    arguments: type[Arguments],
    main: Callable[[Arguments], None],
    start: Callable[[], Arguments] | None = None,
) -> None:
    """Run `main` on the parsed command line, the extensions of the environment added.

    start: what the options are that the command line leaves out, where that is not always the same.
    """
    try:
        with in_one_line():
            for module in filter(None, os.environ.get(EXTENSIONS, "").split(",")):
                _import(module.strip())
            main(_parse(arguments, start))
    except KeyboardInterrupt as stopped:
        print("stopped; nothing half-done was kept", file=sys.stderr)
        sys.exit(exit_code(stopped))


@contextmanager
def in_one_line() -> Iterator[None]:
    """Say a user's mistake in one line, and leave with exit code 2."""
    try:
        yield
    except SpecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _import(module: str) -> None:
    """Import an extension. Raises SpecError if there is none of this name."""
    try:
        import_module(module)
    except (ModuleNotFoundError, TypeError) as error:  # TypeError: of a relative name
        raise SpecError(f"{EXTENSIONS}: {module!r} cannot be imported ({error})") from None


def _parse(arguments: type[Arguments], start: Callable[[], Arguments] | None) -> Arguments:
    """The command line as `arguments`. What a SpecError says is not wrapped into the parser's box."""
    said = io.StringIO()
    try:
        with warnings.catch_warnings(record=True) as hints, redirect_stderr(said):
            warnings.simplefilter("always", RenamedWarning)
            read = partial(tyro.cli, arguments, prog=f"python -m experiments.{Path(sys.argv[0]).stem}")
            parsed = read() if start is None else read(default=start())
        for hint in hints:
            print(f"hint: {hint.message}", file=sys.stderr)
        return parsed
    except SystemExit as leaving:
        cause: BaseException | None = leaving
        while cause is not None:
            if isinstance(cause, SpecError):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        sys.stderr.write(said.getvalue())
        raise


def refuse_changes(given: object, kept: object, where: Path) -> None:
    """Raise SpecError for an option of the command line that differs from what a run was begun with.

    given: the options as parsed, a dataclass. kept: those of the run in the folder `where`.
    """
    for name in {"out", "preset"} & _written():
        raise SpecError(f"resume: {name} goes with a new run, and {where} is there; leave it out")
    for name, asked in vars(given).items():
        held = getattr(kept, name)
        asked = asked.resolve() if isinstance(asked, Path) else asked
        if name in _written() and asked not in (held, "auto"):
            raise SpecError(
                f"resume: {name} {asked} was asked for, but {where} was begun with {held}; leave it "
                "out, or start another run"
            )


def _written() -> set[str]:
    """The names of the options on the command line, however they are spelled."""
    options = (argument[2:].partition("=")[0] for argument in sys.argv[1:] if argument.startswith("--"))
    return {option.replace("-", "_").removeprefix("no_") for option in options}


@contextmanager
def telling(folder: Path) -> Iterator[None]:
    """While the tables of a run, which are all there, are drawn and told. Stopped, it says how to go on."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        page = f"python -m experiments.report {shlex.quote(str(folder))}"
        print(f"stopped; all tables are in {folder}; for the page: {page}", file=sys.stderr)
        sys.exit(exit_code(stopped))
