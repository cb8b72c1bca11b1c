"""Files that are complete or absent, wherever their writer is stopped."""

from collections.abc import Callable
from pathlib import Path

from jaxprune.errors import SpecError


def in_one_piece(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path` that then takes its name.

    Raises SpecError, and leaves nothing behind, where it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        write(part)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SpecError(f"out: cannot write {path} ({error.strerror or error}); make room for it") from None
    part.replace(path)
