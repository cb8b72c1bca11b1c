"""Options whose values are names out of a list: the help texts say which, whatever has been added to it."""

from collections.abc import Callable, Iterable

import tyro


def known(names: Callable[[], Iterable[str]]) -> object:
    """What annotates a field whose help text shall end with the names there are."""
    return tyro.conf.arg(
        help_behavior_hint=lambda default: f"(known: {', '.join(names())}; default: {default})"
    )
