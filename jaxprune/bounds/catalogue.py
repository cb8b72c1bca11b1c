"""All bounds, listed once. Whatever names, computes or prints bounds goes by this list."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxprune.bounds.activations import Activation, activation_named
from jaxprune.bounds.alpha_crown import STEPS, alpha_crown_bound
from jaxprune.bounds.branching import PARTS, branching_bound
from jaxprune.bounds.change import Change
from jaxprune.bounds.crown import crown_bound
from jaxprune.bounds.eclipse import eclipse_bound, unit_slopes
from jaxprune.bounds.frobenius import frobenius_product
from jaxprune.bounds.induced import induced_inf_product, induced_one_product
from jaxprune.bounds.interval import interval_bound
from jaxprune.bounds.jacobian import jacobian_bound
from jaxprune.bounds.path import path_bound
from jaxprune.bounds.spectral import absolute_spectral_product, spectral_product
from jaxprune.errors import SpecError, unknown_name

MOST_EFFORT = 10_000
"""Of any bound."""


def _any_activation(activation: Activation) -> bool:
    return True


@dataclass(frozen=True)
class Bound:
    """One bound on the change of a network's outputs, as a user asks for it.

    name: in tables and on the command line. about: one line for help texts.
    rule: `(layers, x, eps, norm=, activation=) -> Change` where it is local, and holds for the network as
        computed; otherwise `(layers, eps, norm=, activation=) -> Change`, of the exact network, from which
        the computed one differs by `evaluation_error`.
    local: whether it is about one observation; otherwise it holds at all of them.
    monotone: whether no mask can raise it.
    holds_for: whether it holds for an activation.
    cheap: of a local one, whether it is computed at every state of a sweep.
    effort: of a costly one, how much work it does unless it is asked for more. unit: what that counts, which
        is also the name of the rule's argument.
    """

    name: str
    about: str
    rule: Callable[..., Change]
    local: bool = False
    monotone: bool = False
    holds_for: Callable[[Activation], bool] = _any_activation
    cheap: bool = True
    effort: int | None = None
    unit: str = ""

    def __call__(self, *network_and_ball: object, **kind: object) -> Change:
        """The rule, with the effort of this record."""
        work = {} if self.effort is None else {self.unit: self.effort}
        return self.rule(*network_and_ball, **kind, **work)

    def __str__(self) -> str:
        """As `asked` reads it: NAME, or NAME:EFFORT."""
        return self.name if self.effort is None else f"{self.name}:{self.effort}"

    def in_words(self) -> str:
        """For a person: `alpha-crown (20 steps)`."""
        return self.name if self.effort is None else f"{self.name} ({self.effort} {self.unit})"


BOUNDS: dict[str, Bound] = {}
"""All bounds by name, in the order in which they are listed."""


def add(*bounds: Bound) -> None:
    """List bounds. Raises SpecError for a name that is listed already."""
    for bound in bounds:
        if bound.name in BOUNDS:
            raise SpecError(f"bound: {bound.name!r} is listed already; give it another name")
        BOUNDS[bound.name] = bound


add(
    Bound("frobenius", "product of the Frobenius norms", frobenius_product, monotone=True),
    Bound("induced_one", "product of the largest column sums", induced_one_product, monotone=True),
    Bound("induced_inf", "product of the largest row sums", induced_inf_product, monotone=True),
    Bound(
        "absolute_spectral", "product of the spectral norms of |W|", absolute_spectral_product, monotone=True
    ),
    Bound("path", "sum over all paths through the network", path_bound, monotone=True),
    Bound("spectral", "product of the spectral norms", spectral_product),
    Bound("eclipse", "Lipschitz constant of ECLipsE-Fast", eclipse_bound, holds_for=unit_slopes),
    Bound("interval", "interval bound propagation", interval_bound, local=True),
    Bound("jacobian", "the Jacobian over the ball, in intervals", jacobian_bound, local=True),
    Bound("crown", "linear bounds going backwards (CROWN)", crown_bound, local=True),
    Bound(
        "alpha-crown",
        "CROWN with slopes improved by Adam",
        alpha_crown_bound,
        local=True,
        cheap=False,
        effort=STEPS,
        unit="steps",
    ),
    Bound(
        "branching",
        "CROWN on parts of the ball",
        branching_bound,
        local=True,
        cheap=False,
        effort=PARTS,
        unit="parts",
    ),
)


def at_every_state(activation: str) -> dict[str, Bound]:
    """The bounds that hold at every state there is, for this activation.

    Raises:
        SpecError: no slope bound is known for the activation.
    """
    function = activation_named(activation)
    return {name: b for name, b in BOUNDS.items() if not b.local and b.holds_for(function)}


def at_one_state(activation: str) -> dict[str, Bound]:
    """The bounds at one state that are cheap enough for all of a sweep, for this activation.

    Raises:
        SpecError: no slope bound is known for the activation.
    """
    function = activation_named(activation)
    return {name: b for name, b in BOUNDS.items() if b.local and b.cheap and b.holds_for(function)}


def local_names() -> tuple[str, ...]:
    """The names of all bounds at one state, the costly ones included."""
    return tuple(name for name, bound in BOUNDS.items() if bound.local)


def is_monotone(name: str) -> bool:
    """Whether no mask can raise what tables call so. What is no bound of the list, like an attack, is not."""
    return name in BOUNDS and BOUNDS[name].monotone


def asked(text: str) -> Bound:
    """The bound at one state that a user asks for as NAME or NAME:EFFORT.

    Raises SpecError for another name, and for an effort that the bound cannot have.
    """
    name, colon, effort = text.partition(":")
    if name not in local_names():
        raise unknown_name("bounds", name, local_names())
    bound = BOUNDS[name]
    if not colon:
        return bound
    if bound.effort is None:
        raise SpecError(f"bounds: {name!r} has no effort to choose, got {effort!r}; ask for {name} alone")
    if not (effort.isdecimal() and 1 <= int(effort) <= MOST_EFFORT):
        raise SpecError(
            f"bounds: {name!r} needs a whole number of {bound.unit} from 1 to {MOST_EFFORT}, got {effort!r}; "
            f"for example {bound}"
        )
    return replace(bound, effort=int(effort))
