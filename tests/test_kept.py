"""Arrays that are kept come back bit for bit, or are made anew."""

import errno

import numpy as np
import pytest

from jaxprune import SpecError, kept

ARRAYS = {
    "distance": {"crown": np.float32([-0.0, np.nan, np.inf, 1e-42, 1 / 3]), "a/b": np.zeros((), np.float64)},
    "alive": np.array([[True], [False]]),
    "none": np.zeros((0, 3), np.int32),
}


def never():
    raise AssertionError("it was made twice")


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, dict):
            assert_same_bits(value, other[name])
        else:
            of_other = other[name]
            assert (value.dtype, value.shape) == (of_other.dtype, of_other.shape)
            assert value.tobytes() == of_other.tobytes()


@pytest.fixture(name="path")
def _path(tmp_path):
    path = tmp_path / "some.npz"
    assert kept.load_or_make(path, lambda: ARRAYS) is ARRAYS
    return path


def test_what_is_kept_is_made_once_and_comes_back_bit_for_bit(path):
    assert_same_bits(kept.load_or_make(path, never), ARRAYS)
    assert {file.name for file in path.parent.iterdir()} == {"some.npz", "some.npz.sha256"}


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
    path.write_bytes(b"")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def unsigned(path):
    path.with_name(path.name + ".sha256").unlink()


@pytest.mark.parametrize("damage", [halved, emptied, flipped, unsigned])
def test_what_is_damaged_is_made_anew_with_a_warning(path, damage):
    damage(path)
    other = {"value": np.arange(3)}
    with pytest.warns(UserWarning, match=r"some\.npz is damaged and made anew"):
        assert_same_bits(kept.load_or_make(path, lambda: other), other)
    assert_same_bits(kept.load_or_make(path, never), other)


@pytest.mark.parametrize("killed_at", [1, 2])
def test_what_was_killed_while_it_wrote_is_not_there(tmp_path, monkeypatch, killed_at):
    """The first file that takes its name is the digest, the second the arrays."""
    path, replaced, replace = tmp_path / "some.npz", [], type(tmp_path).replace

    def killed(self, target):
        replaced.append(target)
        if len(replaced) == killed_at:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(tmp_path), "replace", killed)
        kept.load_or_make(path, lambda: ARRAYS)
    assert not path.exists() and any(tmp_path.iterdir())
    other = {"value": np.arange(3)}
    assert_same_bits(kept.load_or_make(path, lambda: other), other)
    assert_same_bits(kept.load_or_make(path, never), other)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"the beginning")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(SpecError, match=r"cannot write .*some\.npz \(No space left on device\); make room"):
        kept.load_or_make(tmp_path / "some.npz", lambda: ARRAYS)
    assert not [*tmp_path.iterdir()]
