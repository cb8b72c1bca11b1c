"""What an adversary may do: a budget, as a user asks for it, and the ball that it is."""

from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxprune import parse
from jaxprune.errors import SpecError

NORMS = ("linf", "l2")
SPACES = ("normalised", "raw")

PUBLISHED = "published"
"""The word for the budget of the published tables."""

UNPUBLISHED_EPS = 0.1
"""What it stands for in a sweep of a task that is in none of them."""


class Ball(struct.PyTreeNode):
    """`{d : ||d|| <= eps}`; `eps` is a number, or for l_inf one number per feature [obs]."""

    eps: Float[Array, "*batch"] | float
    norm: str = struct.field(pytree_node=False, default="linf")

    def project(self, offset: Float[Array, " obs"]) -> Float[Array, " obs"]:
        """The nearest point of the ball."""
        if self.norm == "linf":
            return jnp.clip(offset, -self.eps, self.eps)
        return offset * jnp.minimum(1.0, self.eps / jnp.maximum(_length(offset), 1e-30))

    def sample(self, key: PRNGKeyArray, size: int) -> Float[Array, " obs"]:
        """A uniform draw from the ball."""
        if self.norm == "linf":
            return self.eps * jax.random.uniform(key, (size,), minval=-1.0, maxval=1.0)
        direction_key, radius_key = jax.random.split(key)
        direction = jax.random.normal(direction_key, (size,))
        radius = jax.random.uniform(radius_key) ** (1.0 / size)
        return self.eps * radius * direction / jnp.maximum(_length(direction), 1e-30)

    def steepest(self, gradient: Float[Array, " obs"]) -> Float[Array, " obs"]:
        """The point of the ball that goes furthest along a gradient: `eps sign(g)`, or `eps g / ||g||_2`."""
        if self.norm == "linf":
            return self.eps * jnp.sign(gradient)
        # Scaled to a largest entry of 1 first: the square of a tiny gradient is zero in float32.
        largest = jnp.max(jnp.abs(gradient))
        scaled = gradient / jnp.where(largest > 0, largest, 1.0)
        return self.eps * scaled / jnp.maximum(_length(scaled), 1.0)

    def contains(self, centre: Float[Array, " obs"], point: Float[Array, " obs"]) -> Bool[Array, ""]:
        """Whether `point` is in the ball around `centre`; False when anything is not finite.

        Allows the rounding of `centre + offset` and nothing more: four units in the last place.
        """
        slack = 4 * jnp.finfo(point.dtype).eps
        offset = point - centre
        if self.norm == "linf":
            return jnp.all(jnp.abs(offset) <= self.eps + slack * (jnp.abs(centre) + self.eps))
        return _length(offset) <= self.eps + slack * (_length(centre) + self.eps)


def _length(vector: Float[Array, " n"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(vector**2))


@dataclass(frozen=True)
class Budget:
    """A ball around what the policy sees, at every step of an episode.

    eps: its radius, a finite number of at least 0; for l_inf also one such number per feature.
    norm: linf or l2.
    space: where eps lives: normalised (observations in standard deviations) or raw.

    Raises SpecError on construction for anything that is no ball.

    >>> Budget(0.075).in_words()
    'eps 0.075 (linf, normalised)'
    """

    eps: float | tuple[float, ...]
    norm: str = "linf"
    space: str = "normalised"

    def __post_init__(self) -> None:
        parse.check_known("norm", self.norm, NORMS)
        parse.check_known("space", self.space, SPACES)
        for eps in self._radii:
            if not 0 <= eps <= parse.LARGEST:
                raise SpecError(f"eps: {eps:g} must be a finite number of at least 0")
        if isinstance(self.eps, tuple) and self.norm == "l2":
            raise SpecError(
                f"eps: {len(self.eps)} numbers for an l2 ball, which has one radius; give one number"
            )

    @property
    def _radii(self) -> tuple[float, ...]:
        return self.eps if isinstance(self.eps, tuple) else (self.eps,)

    @property
    def largest(self) -> float:
        """The radius, the largest of them if there is one per feature: what tables print."""
        return max(self._radii)

    @property
    def ball(self) -> Ball:
        """The ball, in float32."""
        return Ball(jnp.asarray(self.eps, jnp.float32), self.norm)

    def check_fits(self, observation_size: int) -> None:
        """Raise SpecError unless this is a ball of observations of that size."""
        if isinstance(self.eps, tuple) and len(self.eps) != observation_size:
            raise SpecError(
                f"eps: {len(self.eps)} numbers for an observation of {observation_size} features; "
                f"give one number, or {observation_size}"
            )

    def in_words(self) -> str:
        """For a person: `eps 0.075 (linf, normalised)`."""
        return f"eps {', '.join(f'{eps:g}' for eps in self._radii)} ({self.norm}, {self.space})"

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


def one_budget(
    eps: str | float | tuple[float, ...], norm: str, space: str, task: str, published: float | None
) -> Budget:
    """The budget that a user asks for in one task: a number, a comma list with one per feature, "published".

    published: the radius of the published tables for the task, if it is in any.

    Raises SpecError for anything else, and where "published" is asked for and there is none.
    """
    if eps == PUBLISHED:
        if published is None:
            raise SpecError(f"eps: no budget is published for {task}; give a number")
        return Budget(published, norm, space)
    radii = read_radii(eps)
    return Budget(radii[0] if len(radii) == 1 else radii, norm, space)


def several_budgets(
    eps: str | tuple[float, ...], norm: str, space: str, published: float | None
) -> tuple[Budget, ...]:
    """One budget for every number of a range or comma list; "published" is one, or `UNPUBLISHED_EPS`."""
    if eps == PUBLISHED:
        radii = (UNPUBLISHED_EPS if published is None else published,)
    else:
        radii = parse.numbers("eps", eps)
    return tuple(Budget(radius, norm, space) for radius in radii)


def one_radius(eps: str | float) -> float:
    """A number. Raises SpecError for anything else."""
    try:
        return float(eps)
    except ValueError:
        raise SpecError(f"eps: cannot read {eps!r}; give one number, or published") from None


def read_radii(eps: str | float | tuple[float, ...]) -> tuple[float, ...]:
    """A number, or a comma list with one per feature. Raises SpecError for anything else."""
    try:
        parts = eps.split(",") if isinstance(eps, str) else (eps if isinstance(eps, tuple) else (eps,))
        return tuple(float(part) for part in parts)
    except ValueError:
        raise SpecError(
            f"eps: cannot read {eps!r}; give a number, or one per feature (0.1,0.2), or published"
        ) from None
