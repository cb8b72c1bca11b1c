"""The log of a sweep: what is read back from it is what the run's tables hold."""

import json
import struct
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from jaxprune import SpecError
from jaxprune.progress import Update
from jaxprune.report import log as logs
from jaxprune.report.log import CURVES, Log

CONFIG = {"env": "hopper", "seeds": 2, "arms": ["sa-convex:weight=0.1"]}
UPDATE = Update("training", 500, 250.0, rows=((0.0, 12.5, 3), (0.9, float("nan"), 0)))

Point = tuple[int, float]


@pytest.fixture(name="tables")
def _tables(synthetic):
    """Curves, results and certificates of two seeds in an arm whose name no viewer takes as it is."""
    made = (synthetic.curves(2, iterations=3), synthetic.results(2), synthetic.certificates(2))
    return tuple(table.with_columns(arm=pl.lit("sa-convex:weight=0.1")) for table in made)


def logged(kind: str, folder: Path, tables: tuple[pl.DataFrame, ...]) -> None:
    with Log(kind, folder, CONFIG) as log:
        log.show(UPDATE)
        log.found(*tables)


def expected(tables: tuple[pl.DataFrame, ...]) -> dict[str, list[Point]]:
    """The points of every scalar, worked out from the tables by another way."""
    curves, results, certificates = tables
    last = curves["env_steps"].max()
    points: dict[str, list[Point]] = {}

    def add(name: str, row: dict[str, Any], step: int, value: float) -> None:
        who = f"sa-convex-weight-0.1-{row['sparsity_asked']:g}-seed-{row['seed']}"
        if value is not None and np.isfinite(value):
            points.setdefault(f"{name}/{who}", []).append((step, value))

    for row in curves.sort("member", "env_steps").to_dicts():
        for column in CURVES:
            add(column, row, row["env_steps"], row[column])
    for row in results.to_dicts():
        add(f"final_return/{row['attack']}-eps-{row['eps']:g}", row, last, row["return_mean"])
    for row in certificates.to_dicts():
        add(f"certificate/{row['bound']}-{row['quantity']}-eps-{row['eps']:g}", row, last, row["value"])
    return points


def records(path: Path) -> Iterator[bytes]:
    """Of a file of TensorBoard: a length, its checksum, so many bytes, their checksum, and so on."""
    content, place = path.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield content[place + 12 : place + 12 + length]
        place += 16 + length


def test_event_files_hold_the_tables_of_the_run(tables, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    logged("tensorboard", tmp_path, tables)
    (file,) = (tmp_path / "tensorboard").iterdir()
    found: dict[str, list[Point]] = {}
    texts = []
    for record in records(file):
        event = Event.FromString(record)
        for value in event.summary.value:
            if value.HasField("tensor"):
                texts += value.tensor.string_val
            else:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    told = expected(tables)
    live = {"progress/training/sparsity-0": [(500, 12.5)], "progress/training/steps_per_second": [(500, 250)]}
    assert set(found) == set(told) | set(live)
    for name, points in (told | live).items():
        np.testing.assert_allclose(found[name], points, rtol=1e-6)
    assert json.loads(texts[0].decode().strip("`\n")) == CONFIG


def test_weights_and_biases_is_told_the_same(tables, tmp_path, monkeypatch):
    """By a stand-in: what is handed to the package, and in which order."""
    told, axes, ended = [], {}, []

    def init(**asked):
        assert asked == {
            "project": "jaxprune",
            "name": tmp_path.name,
            "dir": str(tmp_path),
            "config": CONFIG,
        }
        return SimpleNamespace(
            define_metric=lambda name, step_metric=None: axes.update({name: step_metric}),
            log=told.append,
            finish=lambda: ended.append(True),
        )

    errors = SimpleNamespace(Error=RuntimeError)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, errors=errors))
    monkeypatch.setattr(logs, "find_spec", lambda name: name == "wandb")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    logged("wandb", tmp_path, tables)
    assert axes == {"steps_done": None, "progress/*": "steps_done", "env_steps": None, "*": "env_steps"}
    assert told[0] == {
        "steps_done": 500,
        "progress/training/sparsity-0": 12.5,
        "progress/training/steps_per_second": 250.0,
    }
    found: dict[str, list[Point]] = {}
    for values in told[1:]:
        step = values.pop("env_steps")
        for name, value in values.items():
            found.setdefault(name, []).append((step, value))
    assert found == expected(tables)
    assert ended == [True]


def test_what_weights_and_biases_refuses_is_one_line(tables, tmp_path, monkeypatch):
    def init(**asked):
        raise RuntimeError("api_key not configured (no-tty).\nmore")

    errors = SimpleNamespace(Error=RuntimeError)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, errors=errors))
    monkeypatch.setattr(logs, "find_spec", lambda name: True)
    with pytest.raises(SpecError) as refused:
        logged("wandb", tmp_path, tables)
    said = str(refused.value)
    assert said.startswith("log: wandb cannot begin (api_key not configured (no-tty).); wandb login")
    assert "\n" not in said


def parts_joined(path: Path) -> Iterator[bytes]:
    """Of a file of wandb, which is LevelDB's log: blocks of 32 KiB, in them checksum, length, kind, bytes.

    The kinds: 1 is a whole record, 2 its first part, 3 a middle one, 4 the last. Seven bytes stand before.
    """
    content, place, record = path.read_bytes(), 7, b""
    while place < len(content):
        if 2**15 - place % 2**15 < 7:  # no room for a header: the block is filled up
            place += 2**15 - place % 2**15
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed: pip install -e '.[log]'")
def test_offline_weights_and_biases_keeps_the_tables_on_this_machine(tables, tmp_path, monkeypatch):
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged("wandb", tmp_path, tables)
    wandb.teardown()  # its process writes on for a moment
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    found, config = {}, {}
    for content in parts_joined(file):
        record = Record.FromString(content)
        if record.HasField("run"):
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        row = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        if "env_steps" in row:
            step = int(row["env_steps"])
            for name in row:
                if "/" in name:
                    found.setdefault(name, []).append((step, json.loads(row[name])))
    assert found == expected(tables)
    assert {name: config[name] for name in CONFIG} == CONFIG


def test_a_missing_package_and_an_unknown_kind_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "find_spec", lambda name: None)
    for kind, said in (
        ("tensorboard", "log: tensorboard needs the package tensorboardX; pip install 'jaxprune[log]'"),
        ("wandb", "log: wandb needs the package wandb; pip install 'jaxprune[log]'"),
        ("tensorbord", "log: unknown name 'tensorbord'; did you mean 'tensorboard'?"),
    ):
        with pytest.raises(SpecError) as refused:
            Log(kind, tmp_path, CONFIG)
        assert said in str(refused.value)
    assert not list(tmp_path.iterdir())
