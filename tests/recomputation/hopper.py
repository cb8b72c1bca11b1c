"""Hopper written anew after Gymnasium's `Hopper-v4`, one simulation and one step at a time."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np

from tests.recomputation.chance import Draws
from tests.recomputation.policy import Seen, mad

HORIZON, FRAME_SKIP, PERIOD, CONTROL_COST = 1000, 4, 0.008, 1e-3
FEATURES, ACTIONS = 11, 3

BODY = mujoco.MjModel.from_xml_path(
    str(Path(find_spec("gymnasium").origin).parent / "envs" / "mujoco" / "assets" / "hopper.xml")
)
DATA = mujoco.MjData(BODY)
SIZES = (BODY.nq, BODY.nv, FEATURES, ACTIONS)


class Episode(NamedTuple):
    """total: undiscounted return. seen: [length, obs], observed before each step. rewards: [length]."""

    total: float
    terminated: bool
    seen: np.ndarray
    rewards: list[float]

    @property
    def length(self) -> int:
        return len(self.rewards)


class Condition(NamedTuple):
    """How an episode is played: the attack with its budget, and whether actions are drawn or the mean."""

    attack: str
    eps: float
    norm: str
    sampled: bool = False


def play(victim: Seen, draws: Draws, conditions: list[Condition], charge: str) -> list[list[Episode]]:
    """[condition][episode]: all of them meet the same starts and the same noise."""
    starts = list(zip(draws.position, draws.velocity, strict=True))
    playing = [[_Playing(victim, condition, charge, *start) for start in starts] for condition in conditions]
    while any(one.alive for row in playing for one in row):
        offset, normal = next(draws.steps)
        for row in playing:
            for number, one in enumerate(row):
                if one.alive:
                    one.step(offset[number], normal[number])
    return [
        [Episode(float(sum(one.rewards)), one.terminated, np.array(one.seen), one.rewards) for one in row]
        for row in playing
    ]


class _Playing:
    """One episode. Its state is float32, as between the steps of a run."""

    def __init__(self, victim: Seen, condition: Condition, charge: str, position, velocity):
        self.victim, self.condition, self.charge = victim, condition, charge
        self.qpos, self.qvel = np.float32(BODY.qpos0) + position, velocity
        self.alive, self.terminated, self.seen, self.rewards = True, False, [], []

    def step(self, offset: np.ndarray, normal: np.ndarray) -> None:
        observed = observation(self.qpos, self.qvel)
        action = self.victim.output(self.shown(self.victim.point(observed), offset))
        if self.condition.sampled:
            action = action + np.exp(self.victim.policy.log_std) * normal
        control = np.clip(action, -1, 1)
        before = self.qpos[0]
        self.qpos, self.qvel = advance(self.qpos, self.qvel, control)
        charged = control if self.charge == "clipped" else action
        speed = (self.qpos[0] - before) / np.float32(PERIOD)
        self.seen.append(observed)
        self.rewards.append(float(speed + 1 - CONTROL_COST * np.sum(charged**2)))
        self.terminated = not healthy(self.qpos, self.qvel)
        self.alive = not self.terminated and len(self.rewards) < HORIZON

    def shown(self, point: np.ndarray, offset: np.ndarray) -> np.ndarray:
        attack, eps, norm, _ = self.condition
        if attack == "none":
            return point
        if attack == "random":
            return point + np.float32(eps) * offset
        return mad(self.victim, point, offset, eps, norm)


def advance(qpos: np.ndarray, qvel: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`FRAME_SKIP` steps of MuJoCo with a solver that remembers nothing from before."""
    mujoco.mj_resetData(BODY, DATA)
    DATA.qpos, DATA.qvel, DATA.ctrl = qpos, qvel, control
    DATA.qacc_warmstart = 0
    for _ in range(FRAME_SKIP):
        mujoco.mj_step(BODY, DATA)
    return np.float32(DATA.qpos), np.float32(DATA.qvel)


def observation(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    """All positions but the first, and the velocities cut to +-10."""
    return np.concatenate([qpos[1:], np.clip(qvel, -10, 10)])


def healthy(qpos: np.ndarray, qvel: np.ndarray) -> bool:
    """Upright, high enough, and nothing beyond +-100."""
    rest = np.concatenate([qpos[2:], qvel])
    return bool(np.all(np.abs(rest) < 100) and qpos[1] > 0.7 and -0.2 < qpos[2] < 0.2)
