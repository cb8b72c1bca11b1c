"""How a user's text becomes numbers and names; whatever it cannot be is one line of SpecError."""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from jaxprune.errors import SpecError, unknown_name

MOST_VALUES = 10_000
"""Of one range."""

MOST_SEEDS = 1_000_000

LARGEST = float(np.finfo(np.float32).max)
"""What is larger is infinite where everything is computed."""


def numbers(field: str, given: str | Iterable[float]) -> tuple[float, ...]:
    """`start:stop:step` with the stop included, or a comma list, in decimal arithmetic; or numbers.

    Raises SpecError for anything else, numbers that are not finite included.

    >>> numbers("sparsities", "0:0.9:0.3")
    (0.0, 0.3, 0.6, 0.9)
    """
    parts = given.split(":") if isinstance(given, str) else []
    try:
        if len(parts) == 3:
            return _steps(field, *map(Decimal, parts))
        read = tuple(float(value) for value in (given.split(",") if isinstance(given, str) else given))
    except (ArithmeticError, TypeError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        read = ()
    if not read or not all(math.isfinite(number) for number in read):
        raise SpecError(
            f"{field}: cannot read {given!r}; give start:stop:step (0:0.9:0.1) or a list (0,0.5,0.9)"
        )
    return read


def _steps(field: str, start: Decimal, stop: Decimal, step: Decimal) -> tuple[float, ...]:
    """Start, start + step, ... up to the stop itself, if it is met. Raises ArithmeticError for infinities."""
    if step == 0 or (stop - start) * step < 0:
        raise SpecError(f"{field}: step {step} never leads from {start} to {stop}; it needs the other sign")
    if (stop - start) / step >= MOST_VALUES:
        raise SpecError(f"{field}: {start}:{stop}:{step} makes more than {MOST_VALUES} values")
    return tuple(float(start + i * step) for i in range(int((stop - start) / step) + 1))


def seeds(field: str, given: int | str) -> tuple[int, ...]:
    """So many seeds from 0 on, or which ones: `first:stop` without the stop, or a comma list of such.

    Raises SpecError for anything else, and for a seed that is given twice.

    >>> seeds("seeds", 3), seeds("seeds", "5:8,11")
    ((0, 1, 2), (5, 6, 7, 11))
    """
    if isinstance(given, int) or given.strip().isdecimal():
        check_at_least(field, int(given), 1)
        runs = [range(int(given))]
    else:
        try:
            ends = [part.partition(":") for part in given.split(",")]
            runs = [range(int(first), int(stop or int(first) + 1)) for first, _, stop in ends]
        except ValueError:
            runs = []
    if not runs or not all(0 <= run.start < run.stop <= MOST_SEEDS for run in runs):
        raise SpecError(
            f"{field}: cannot read {given!r}; give how many (6), or which from 0 to {MOST_SEEDS - 1:,}: "
            "first:stop (6:12, which leaves out 12), or a list of such (0:6,9)"
        )
    numbers = tuple(seed for run in runs for seed in run)
    if len(set(numbers)) < len(numbers):
        raise SpecError(f"{field}: {given!r} names a seed twice; each may appear once")
    return numbers


def runs_of(numbers: Iterable[int]) -> str:
    """The text that `seeds` reads as these numbers, in rising order.

    >>> runs_of((5, 6, 7, 11))
    '5:8,11:12'
    """
    held = set(numbers)
    starts = sorted(n for n in held if n - 1 not in held)
    stops = sorted(n + 1 for n in held if n + 1 not in held)
    return ",".join(f"{start}:{stop}" for start, stop in zip(starts, stops, strict=True))


def names(given: str | Iterable[str]) -> tuple[str, ...]:
    """A comma list, or names; blanks around them do not count."""
    return tuple(name.strip() for name in (given.split(",") if isinstance(given, str) else given))


def check_known(field: str, value: str, known: Iterable[str]) -> None:
    """Raise SpecError, with the nearest name, unless the value is one of these names."""
    if value not in known:
        raise unknown_name(field, value, known)


def check_each_once(field: str, values: tuple) -> None:
    """Raise SpecError for an empty list, or one in which a value is repeated."""
    if not values:
        raise SpecError(f"{field}: needs at least one value")
    for value in values:
        if values.count(value) > 1:
            raise SpecError(f"{field}: {value} is given {values.count(value)} times; each may appear once")


def check_at_least(field: str, value: int, least: int) -> None:
    """Raise SpecError for a number below the least."""
    if value < least:
        raise SpecError(f"{field}: {value} must be at least {least}")


def check_unused(asked: object, usual: object, why: str) -> None:
    """Raise SpecError for a field that is not as usual, where none of them is used."""
    for name, value in vars(asked).items():
        if value != getattr(usual, name):
            raise SpecError(f"{name}: {why}; leave {name} out")


def check_seed(value: int) -> None:
    """Raise SpecError for a number that is no seed of a random stream."""
    if not 0 <= value < MOST_SEEDS:
        raise SpecError(f"seed: {value} must be from 0 to {MOST_SEEDS - 1:,}")


def fields_of(kind: type, written: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass as JSON has kept them, its lists as tuples.

    Raises SpecError for a value of another type than the field's.
    """
    hints = get_type_hints(kind)
    for name, value in written.items():
        if name in hints and not _fits(value, hints[name]):
            raise SpecError(f"{name}: {value!r} is of the wrong type")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in written.items()}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value that JSON has kept is of the type: a list is a tuple, and a truth value no number."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(each, get_args(hint)[0]) for each in value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint)
