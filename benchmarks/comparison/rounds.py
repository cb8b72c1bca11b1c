"""What was measured, kept in a file that grows: what is there is not measured again."""

from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

SCHEMA = {
    "part": pl.String,
    "row": pl.String,
    "turn": pl.Int64,
    "amount": pl.Float64,
    "seconds": pl.Float64,
    "result": pl.Float64,
    "others": pl.Float64,
    "versions": pl.String,
}


@dataclass(frozen=True)
class Measured:
    """One measurement: so much was done in so many seconds, infinitely many where it was not done.

    result: what came out of it, where something does: a return, a bound.
    """

    amount: float
    seconds: float
    result: float | None = None


class Rounds:
    """The measurements of a run, in `rounds.csv` of its folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "rounds.csv"
        folder.mkdir(parents=True, exist_ok=True)

    def table(self) -> pl.DataFrame:
        """All of them, in the order they were made; `SCHEMA`.

        turn: how many of its row came before it. others: share of the cores that other programs took then.
        """
        if not self._file.is_file():
            return pl.DataFrame(schema=SCHEMA)
        return pl.read_csv(self._file, schema=SCHEMA)

    def count(self, part: str, row: str) -> int:
        """How many there are of a row."""
        return self.table().filter(part=part, row=row).height

    def add(self, part: str, row: str, made: list[Measured], others: float, versions: str) -> None:
        """Keep the measurements of one turn."""
        first = self.count(part, row)
        same = {"part": part, "row": row, "others": others, "versions": versions}
        rows = [{**same, "turn": first + i, **asdict(one)} for i, one in enumerate(made)]
        pl.concat([self.table(), pl.DataFrame(rows, schema=SCHEMA)]).write_csv(self._file)
