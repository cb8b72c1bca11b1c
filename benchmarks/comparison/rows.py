"""The rows of the comparison: what is measured, how, and what is not comparable about it."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks.comparison import ours
from benchmarks.comparison.ours import Measure
from benchmarks.comparison.policies import MEMBERS, Policies, load_or_make
from benchmarks.comparison.rounds import Measured
from benchmarks.comparison.workers import SCRIPTS, PeerError, SideBySide, side_by_side

LIMIT, OURS, PEER = "limit", "ours", "peer"

OUR_VERSIONS = ", ".join(f"{name} {version(name)}" for name in ("jaxprune", "jaxlib", "mujoco"))


class Part(NamedTuple):
    """A part of the comparison.

    name: on the command line. title: what is done. unit: of a row's number. rate: whether that is work per
    second, so that more is better; otherwise it is seconds per amount. scale: what a number is divided by.
    result: what `Measured.result` is, if it is anything.
    """

    name: str
    title: str
    unit: str
    rate: bool
    scale: float = 1.0
    result: str = ""

    def number(self, amount: float, seconds: float) -> float:
        """What a measurement comes to."""
        return (amount / seconds if self.rate else seconds / amount) / self.scale


PARTS = (
    Part("training", "Training on Hopper", "thousand member-steps/s", True, 1e3),
    Part("return", "Time to a clean return", "s per member", False, result="return"),
    Part("sparsities", "Ten sparsities", "s", False),
    Part("attack", "Evaluation under MAD", "thousand member-steps/s", True, 1e3, "return"),
    Part("bounds", "Bounds at visited states", "thousand states/s", True, 1e3, "delta"),
)


class Size(NamedTuple):
    """How much a run does: the ordinary one, or the quick one that only shows that everything works."""

    rounds: int
    warm_up: int
    """Iterations of ten members before the clock starts."""
    training: int
    """Iterations of a measurement of ten members; other rows do about as many seconds of work."""
    goal: float
    most: int
    peer_seeds: int
    sparsities: int
    """Environment steps of each of ten trainings."""
    policies: int
    """Iterations of training of what is attacked and bounded."""
    alpha_states: int


ORDINARY = Size(5, 20, 8, 1000.0, 600_000, 6, 20_480, 100, 100)
QUICK = Size(2, 1, 1, 20.0, 40_960, 2, 4_096, 2, 20)


@dataclass(frozen=True)
class Setting:
    """With what a run measures.

    peers, lirpa: the Pythons of the peers and of auto_LiRPA. opened: what has to be closed at the end.
    """

    size: Size
    folder: Path
    opened: ExitStack
    peers: Path | None = None
    lirpa: Path | None = None

    @cached_property
    def policies(self) -> Policies:
        """What both sides attack and bound."""
        return load_or_make(self.policies_file, self.size.policies)

    @property
    def policies_file(self) -> Path:
        """Where they are."""
        return self.folder / "policies.npz"

    def start(self, script: str, each: Sequence[Sequence[str]], python: str = "peers") -> SideBySide:
        """Workers of a peer. Raises PeerError."""
        return side_by_side(self.opened, self.python(python), script, each, self.folder / "logs")

    def python(self, which: str) -> Path:
        """The interpreter of a peer. Raises PeerError."""
        found: Path | None = getattr(self, which)
        if found is None:
            raise PeerError(f"no --{which}; see `benchmarks/peers/README.md`")
        if not found.is_file():
            raise PeerError(f"--{which} {found}: no such file")
        return found


class Prepared(NamedTuple):
    """A row that can be measured now."""

    measure: Measure
    versions: str = OUR_VERSIONS


@dataclass(frozen=True)
class Row:
    """One row.

    prepare: given the setting, gets ready to measure; raises PeerError. differs: what is not comparable.
    wanted: how many measurements; None for as many as the run has rounds.
    """

    part: str
    name: str
    side: str
    prepare: Callable[[Setting], Prepared]
    differs: str = "-"
    wanted: Callable[[Size], int] = lambda size: size.rounds


def of_ours(measure: Callable[[Setting], Measure]) -> Callable[[Setting], Prepared]:
    """Prepares a row of ours."""
    return lambda setting: Prepared(measure(setting))


def of_peer(
    script: str,
    arguments: Callable[[Setting], Sequence[str]],
    processes: int = 1,
    python: str = "peers",
    seeds: str = "",
) -> Callable[[Setting], Prepared]:
    """Prepares a row of a peer, in so many processes that do the same side by side.

    seeds: the option by which each gets a seed of its own.
    """

    def prepare(setting: Setting) -> Prepared:
        each = [(*arguments(setting), *((seeds, str(i)) if seeds else ())) for i in range(processes)]
        workers = setting.start(script, each, python)
        return Prepared(workers.together, workers.versions)

    return prepare


def until_goal(setting: Setting) -> Prepared:
    """Seeds of Stable-Baselines3, two side by side; of the seconds of each, half are its own."""
    size, processes = setting.size, 2
    arguments = ("--goal", f"{size.goal:g}", "--most", str(size.most), "--look", str(ours.LOOK_ITERATIONS))
    workers = setting.start("sb3_return.py", [arguments] * processes)

    def measure(turn: int) -> list[Measured]:
        return [Measured(processes, one.seconds, one.result) for one in workers.apart(turn)]

    return Prepared(measure, workers.versions)


def ten_runs(setting: Setting) -> Prepared:
    """Ten trainings of Stable-Baselines3, a process each, two at a time, from start to end."""
    python, steps = setting.python("peers"), setting.size.sparsities
    versions = setting.start("sb3_ppo.py", [("--warm-up", "0")]).versions

    def one(seed: int) -> None:
        options = ("--settings", "batched", "--warm-up", "0", "--iterations", str(steps // 2048))
        command = [python, SCRIPTS / "sb3_ppo.py", *options, "--seed", str(seed)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run(command, input="0\n", text=True, check=True, capture_output=True, env=environment)

    def measure(_: int) -> list[Measured]:
        began = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, range(MEMBERS)))
        return [Measured(1, time.perf_counter() - began)]

    return Prepared(measure, versions)


def _policies(setting: Setting) -> Sequence[str]:
    _ = setting.policies
    return ("--policies", str(setting.policies_file.resolve()), "--eps", str(ours.EPS))


def _lirpa(bound: str) -> Callable[[Setting], Sequence[str]]:
    def arguments(setting: Setting) -> Sequence[str]:
        members, states = _at(bound, setting)
        of_each = ("--members", str(members), "--states", str(states))
        return ("--bound", bound, *_policies(setting), *of_each)

    return arguments


def _at(bound: str, setting: Setting) -> tuple[int, int]:
    """Members and states that a bound is taken at; alpha-CROWN takes a hundred times as long."""
    return (2, setting.size.alpha_states) if bound == "alpha-crown" else (MEMBERS, 1000)


_OUR_BATCHES = "80 gradient steps per 2048 steps (16 environments, minibatches of 256)"
_SMALL_BATCHES = "320 gradient steps per 2048 steps (one environment, minibatches of 64)"
_BRAX = (
    "another hopper: body, reward and physics of Brax; 256 environments; 13 gradient steps per 2048 steps; "
    "networks of 4 x 32 and 5 x 256"
)
_SAFE = "safe against rounding"
_JOINTLY = dict.fromkeys(("crown", "alpha-crown"), f"{_SAFE}; all actions jointly")
_FEWER = {"alpha-crown": "; at 100 states of two members only"}


def _training(members: int, share: float) -> Callable[[Setting], Prepared]:
    """Ours, in that share of the iterations of ten members."""

    def measure(setting: Setting) -> Measure:
        iterations = max(1, round(share * setting.size.training))
        return ours.training(members, iterations, ours.warm(setting.size.warm_up))

    return of_ours(measure)


def _attacked(attack: str) -> Callable[[Setting], Prepared]:
    return of_ours(lambda s: ours.attacked(s.policies, attack))


def _bounded(bound: str) -> Callable[[Setting], Prepared]:
    return of_ours(lambda s: ours.bounded(s.policies, bound, *_at(bound, s)))


def _sb3(settings: str, processes: int) -> Callable[[Setting], Prepared]:
    def arguments(setting: Setting) -> Sequence[str]:
        return ("--settings", settings, "--iterations", str(setting.size.training))

    return of_peer("sb3_ppo.py", arguments, processes, seeds="--seed")


TRAINING = (
    Row(
        "training",
        "physics alone",
        LIMIT,
        of_ours(lambda s: ours.limit(s.size.training, ours.warm(s.size.warm_up))),
        "neither policy nor learning; the states and actions of ten members (MJX: random actions)",
    ),
    Row("training", "jaxprune, 1 member", OURS, _training(1, 5), _OUR_BATCHES),
    Row("training", "jaxprune, 10 members", OURS, _training(10, 1), _OUR_BATCHES),
    Row("training", "jaxprune, 64 members", OURS, _training(64, 1 / 6), _OUR_BATCHES),
    Row("training", "Stable-Baselines3, 1 process", PEER, _sb3("defaults", 1), _SMALL_BATCHES),
    Row("training", "Stable-Baselines3, 2 processes", PEER, _sb3("defaults", 2), _SMALL_BATCHES),
    Row("training", "Stable-Baselines3, our batches, 2 processes", PEER, _sb3("batched", 2), _OUR_BATCHES),
    Row(
        "training",
        "PyTorch in one file, CleanRL's settings",
        PEER,
        of_peer("torch_ppo.py", lambda s: ("--iterations", str(s.size.training))),
        f"{_SMALL_BATCHES}; written for this comparison",
    ),
    Row("training", "Brax PPO, generalized", PEER, of_peer("brax_ppo.py", lambda _: ()), _BRAX),
    Row(
        "training", "Brax PPO, spring", PEER, of_peer("brax_ppo.py", lambda _: ("--backend", "spring")), _BRAX
    ),
)

RETURN = (
    Row(
        "return",
        "jaxprune, 10 seeds in one program",
        OURS,
        of_ours(lambda s: ours.until(s.size.goal, s.size.most)),
        f"{_OUR_BATCHES}; rate annealed; compilation counts, looking every 10 iterations does not",
        lambda size: MEMBERS,
    ),
    Row(
        "return",
        "Stable-Baselines3, 2 seeds side by side",
        PEER,
        until_goal,
        f"{_SMALL_BATCHES}; constant rate; looking every 10 iterations does not count",
        lambda size: size.peer_seeds,
    ),
)

SPARSITIES = (
    Row(
        "sparsities",
        "jaxprune, one program",
        OURS,
        of_ours(lambda s: ours.ten_sparsities(s.size.sparsities)),
        "start and compilation included: the longer the training, the less they count",
    ),
    Row(
        "sparsities",
        "Stable-Baselines3, ten runs, two at a time",
        PEER,
        ten_runs,
        "prunes nothing, which costs it nothing; our batches; start included",
    ),
)

ATTACK = (
    Row(
        "attack",
        "jaxprune, clean, 10 members x 20 episodes",
        LIMIT,
        _attacked("none"),
        "no attack: what the attack costs is the rest",
    ),
    Row(
        "attack",
        "jaxprune, 10 members x 20 episodes",
        OURS,
        _attacked("mad"),
        "10 steps and two more points tried; episodes that have ended wait for the longest",
    ),
    *(
        Row(
            "attack",
            f"PyTorch as published, {words}",
            PEER,
            of_peer("torch_attack.py", _policies, processes, seeds="--seed"),
            "10 steps; an episode of each member, one after the other; written for this comparison",
        )
        for processes, words in ((1, "1 process"), (2, "2 processes"))
    ),
)

BOUNDS = tuple(
    row
    for bound in ours.BOUNDS
    for row in (
        Row(
            "bounds",
            f"jaxprune, {bound}",
            OURS,
            _bounded(bound),
            _JOINTLY.get(bound, _SAFE) + _FEWER.get(bound, ""),
        ),
        Row(
            "bounds",
            f"auto_LiRPA, {bound}",
            PEER,
            of_peer("lirpa_bounds.py", _lirpa(bound), 2, "lirpa"),
            "action by action; two processes side by side; release of 2022" + _FEWER.get(bound, ""),
        ),
    )
)

ROWS = (*TRAINING, *RETURN, *SPARSITIES, *ATTACK, *BOUNDS)
