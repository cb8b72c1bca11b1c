"""Pictures of the bodies: of the size asked for, upright, and of where the body is."""

import mujoco
import numpy as np
import pytest

from jaxprune import SpecError
from jaxprune.envs.api import Body
from jaxprune.envs.mujoco import drawing as drawings
from jaxprune.envs.mujoco.drawing import Drawing
from jaxprune.envs.mujoco.model import load

WIDTH, HEIGHT = 64, 48


@pytest.fixture(name="drawing", scope="module")
def _drawing():
    """Of a hopper, where there is something to draw with."""
    try:
        opened = Drawing(Body("hopper.xml", 4), WIDTH, HEIGHT)
    except SpecError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


def rest():
    body = load("hopper.xml")
    return body.qpos0.copy(), np.zeros(body.nv)


def test_a_picture_shows_the_sky_above_the_floor_and_the_body_between(drawing):
    picture = drawing.draw(*rest())
    assert picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8
    # The floor is a chequerboard, the sky is one blue.
    assert picture[-12:].std() > 3 * picture[:12].std()
    sky, middle = picture[20, 2].astype(int), picture[20, WIDTH // 2].astype(int)
    assert sky[2] > sky[0] and middle[0] > middle[2]  # blue, and the orange leg


def test_it_is_of_the_state_that_is_given_and_of_no_other(drawing):
    qpos, qvel = rest()
    before = drawing.draw(qpos, qvel)
    bent = qpos.copy()
    bent[3:] = (-0.8, -0.9, 0.6)
    assert np.abs(drawing.draw(bent, qvel).astype(int) - before).max() > 50
    np.testing.assert_array_equal(drawing.draw(qpos, qvel), before)


def test_a_step_lasts_as_long_as_in_the_simulation(drawing):
    assert drawing.seconds_per_step == pytest.approx(0.008)


def test_a_body_without_a_camera_of_its_own_is_seen_whole(drawing):
    with Drawing(Body("inverted_pendulum.xml", 2), WIDTH, HEIGHT) as other:
        body = load("inverted_pendulum.xml")
        assert mujoco.mj_name2id(body, mujoco.mjtObj.mjOBJ_CAMERA, drawings.FOLLOWS) < 0
        seen = other.draw(body.qpos0, np.zeros(body.nv)).max(axis=2) > 0
    assert seen.any() and not seen[[0, -1]].any() and not seen[:, [0, -1]].any()


def test_where_nothing_draws_one_line_says_what_to_install(monkeypatch):
    def missing():
        raise AttributeError("'NoneType' object has no attribute 'glGetError'\nand more")

    monkeypatch.setattr(drawings, "_surface_kind", missing)
    with pytest.raises(SpecError) as refused:
        Drawing(Body("hopper.xml", 4), WIDTH, HEIGHT)
    said = str(refused.value)
    assert "'glGetError'); install EGL (Debian: apt-get install libegl1 libgl1), or OSMesa" in said
    assert "\n" not in said
