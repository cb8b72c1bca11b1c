"""All families of files that hold a policy, listed once: what reads or documents them goes by this list."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxprune.errors import SpecError
from jaxprune.policy.agent import Agent
from jaxprune.policy.files import brax, cleanrl, exported, flax_mlp, sa_ppo, stable_baselines
from jaxprune.policy.files.record import OtherKindError, PolicyFile, Reader, Source
from jaxprune.policy.files.vec_normalize import read_vec_normalize
from jaxprune.policy.networks import Params

READERS: tuple[Reader, ...] = (
    exported.READER,
    sa_ppo.READER,
    stable_baselines.READER,
    brax.READER,
    cleanrl.READER,
    flax_mlp.READER,
)
"""The first that recognises a file reads it."""


def readable() -> str:
    """All families in words."""
    return "; ".join(reader.about for reader in READERS)


def read_policy(
    path: str | Path, *, normalizer: str | Path | None = None, activation: str | None = None
) -> PolicyFile:
    """The policy in a file, or folder, of any family, told apart by content, running nothing that came along.

    Args:
        path: the file.
        normalizer: a `VecNormalize` of Stable-Baselines3, for an agent whose filter is not in its file.
        activation: what stands between the layers, of a file that does not say.

    Raises:
        SpecError: the file holds no policy, is broken, names code, or holds numbers that are not finite; an
            option contradicts it.
    """
    with _refusing("agent", Path(path)):
        source = Source(Path(path))
        policy = _reader(source).read(source, activation)
        if normalizer is not None and not policy.filter_elsewhere:
            raise SpecError("it brings its own observation filter; leave --normalizer out")
    if normalizer is None:
        return policy
    with _refusing("normalizer", Path(normalizer)):
        features = policy.agent.policy["layer_0"]["kernel"].shape[0]
        filter_ = read_vec_normalize(Path(normalizer).read_bytes(), features)
    return policy._replace(agent=policy.agent.replace(normalizer=filter_), filter_elsewhere=False)


def read_agent(path: str | Path) -> Agent:
    """The agent in a file of any family whose actions the task clips. Raises SpecError as `read_policy`."""
    policy = read_policy(path)
    if policy.squash is not None:
        raise SpecError(f"agent: {path}: its actions are squashed by tanh; read it with read_policy")
    return policy.agent


def read_adversary(path: str | Path) -> Params:
    """The learned adversary in a file of the SA-PPO family: the parameters of an `attacks.Learned`.

    Raises SpecError as `read_policy` does, and where the file holds no adversary.
    """
    with _refusing("agent", Path(path)):
        return sa_ppo.adversary(Path(path).read_bytes())


def _reader(source: Source) -> Reader:
    """Who reads the file. Raises OtherKindError where nobody does."""
    for reader in READERS:
        if reader.recognises(source):
            return reader
    raise OtherKindError("no policy that we know")


@contextmanager
def _refusing(field: str, path: Path) -> Iterator[None]:
    """Report whatever a broken or hostile file provokes as one SpecError of one line that names the file."""
    try:
        yield
    except OtherKindError as error:
        raise SpecError(f"{field}: {path}: {error}; what can be read: {readable()}") from error
    except SpecError as error:
        raise SpecError(f"{field}: {path}: {error}") from error
    except KeyError as error:
        raise SpecError(
            f"{field}: {path}: not what we know: it has no {error}; what can be read: {readable()}"
        ) from error
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise SpecError(f"{field}: {path}: not what we can read: {said}") from error
