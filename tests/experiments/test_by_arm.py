"""What the figures of a run say that they are about."""

import polars as pl
from matplotlib.figure import Figure

from experiments import by_arm
from tests.report.test_attacked_returns import table


def titles(means, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(by_arm, "attacked_returns_figure", lambda _, title: told.append(title) or Figure())
    by_arm.draw_returned(tmp_path, means, "hopper on native")
    return told


def test_the_arm_is_named_where_there_are_several(tmp_path, monkeypatch):
    one, other = table(), table().with_columns(arm=pl.lit("atla"))
    assert titles(one, tmp_path, monkeypatch) == ["hopper on native"]
    said = titles(pl.concat([one, other]), tmp_path, monkeypatch)
    assert said == ["hopper on native, ppo", "hopper on native, atla"]
