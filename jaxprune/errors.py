"""How a user's mistake is reported: one line with the field, the value, what is allowed and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class SpecError(ValueError):
    """A user's mistake. The command lines print its text on one line and leave with exit code 2."""


def unknown_name(field: str, value: object, known: Iterable[str]) -> SpecError:
    """The error for a name that is not in `known`, with the nearest known one as a suggestion."""
    names = sorted(known)
    near = get_close_matches(str(value), names, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return SpecError(f"{field}: unknown name {value!r}{hint} Known: {', '.join(names)}")
