"""Checkpoints that are written while their maker goes on."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp

from jaxprune import checkpoint


class Saver:
    """Saves steps (see `checkpoint.save`), each from a copy of its arrays, which may be donated at once.

    One is written at a time; the next waits for it, and raises what went wrong with it (a disk that is full).
    To be opened as a context: when it ends, however it ends, all that was saved is on the disk.

    folder: where; None saves nothing. of: what the steps are of, as plain JSON values.
    """

    def __init__(self, folder: Path | None, of: dict[str, Any] | None = None) -> None:
        self._folder, self._of = folder, of
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._wait()
        finally:
            self._thread.shutdown()

    def save(self, step: int, tree: object) -> None:
        """Begin to write `tree` as step `step`."""
        if self._folder is None:
            return
        self._wait()
        copied = jax.block_until_ready(jax.tree.map(jnp.copy, tree))
        self._writing = self._thread.submit(checkpoint.save, self._folder, step, copied, self._of)

    def _wait(self) -> None:
        """Until what is being written is there."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
