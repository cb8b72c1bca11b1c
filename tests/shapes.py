"""The checker of shapes and types behind the import hook of `conftest.py`."""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's arguments and result, but not what a dataclass is built from.

    JAX and orbax rebuild our dataclasses with whatever they put at the leaves: shapes, axes, None.
    """
    return function if function.__name__ == "__init__" else beartype(function)
