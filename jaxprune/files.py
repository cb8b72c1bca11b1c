"""Files that are complete or absent, wherever their writer is stopped, and folders with one writer."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from jaxprune.errors import SpecError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors of a disk without room, and of a user without any left on it."""

UNREADABLE = "[\\"
"""In the path of a checkpoint: Orbax looks for the parts of one by patterns, does not quote the path, and
puts together what it has found, which is nothing."""


def check_keeps_checkpoints(folder: Path) -> None:
    """Raise SpecError for a folder from which no checkpoint could be read again."""
    whole = folder.resolve().as_posix()
    for character in UNREADABLE:
        if character in whole:
            raise SpecError(
                f"out: {whole} holds {character!r}, and Orbax reads no checkpoint from there; name another"
            )


def in_one_piece(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path` that then takes its name.

    Raises SpecError, and leaves nothing behind, where it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        advice = "make room for it" if error.errno in (*FULL, None) else "name another place"
        raise SpecError(f"out: cannot write {path} ({error.strerror or error}); {advice}") from None


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Be the only one that writes into the folder; None is nobody else's.

    The system lets go of it when the process ends, however it ends. Raises SpecError where somebody else
    writes into it.
    """
    if folder is None:
        yield
        return
    lock = FileLock(folder / ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise SpecError(f"out: another process is at work in {folder}; wait until it has ended") from None
    try:
        yield
    finally:
        lock.release()
