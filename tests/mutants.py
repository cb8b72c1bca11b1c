"""Which mutants are tried, and by which tests; `tests/MUTANTS.md` says how to run it.

python tests/mutants.py sample SESSION COUNT SEED   leave a random sample in a session of cosmic-ray
python tests/mutants.py                             test the file that differs from the last commit
"""

import ast
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

SWEEPS = ["tests/test_by_hand.py", "tests/test_options.py", "tests/test_sweep.py"]
TESTS = {
    "jaxprune/sweep.py": SWEEPS,
    "jaxprune/job.py": SWEEPS,
    "jaxprune/evaluation.py": [
        "tests/test_evaluation.py",
        "tests/test_by_hand.py",
        "tests/test_shift_evaluation.py",
    ],
    "jaxprune/shift_evaluation.py": ["tests/test_shift_evaluation.py"],
    "jaxprune/merging.py": ["tests/test_merging.py"],
    "jaxprune/analysis": ["tests/analysis"],
    "jaxprune/certification": ["tests/certification", "tests/test_by_hand.py"],
    "jaxprune/attack_search": ["tests/attack_search"],
    "jaxprune/training/halving.py": ["tests/training/test_halving.py", "tests/attack_search/test_halving.py"],
    "jaxprune/training/pruning.py": [
        "tests/training/test_movement.py",
        "tests/training/test_gradient_scores.py",
        "tests/training/test_regrowth.py",
        "tests/training/test_lottery.py",
        "tests/training/test_hydra.py",
        "tests/test_options.py",
    ],
    "jaxprune/pruning": [
        "tests/pruning",
        "tests/training/test_movement.py",
        "tests/training/test_lottery.py",
    ],
}
"""By module or package, the cheapest tests first. (Measured: which tests run its lines, and how long.)"""


def tests_of(path: str) -> list[str]:
    """The file of tests that mirrors a module, if there is one, and those of the list."""
    own = Path(path.replace("jaxprune/", "tests/", 1))
    files = [own.with_name(f"test_{own.name}")]
    for place in next(tests for start, tests in TESTS.items() if path.startswith(start)):
        files += sorted(Path(place).glob("test_*.py")) if Path(place).is_dir() else [Path(place)]
    return [str(file) for file in dict.fromkeys(files) if file.exists()]


def test_what_is_mutated() -> int:
    """The exit code of the tests of the one file that is changed."""
    changed = subprocess.run(
        ["git", "diff", "--name-only", "--", *TESTS], check=True, capture_output=True, text=True
    )
    (path,) = changed.stdout.split()
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
    return subprocess.run([*command, *tests_of(path)], check=False).returncode


def annotations(path: Path) -> set[tuple[int, int]]:
    """Line and column of everything that only says a type; it is checked by other means."""
    hints = []
    for node in ast.walk(ast.parse(path.read_text())):
        hints += [getattr(node, name, None) for name in ("annotation", "returns")]
    return {
        (line, column)
        for hint in hints
        if hint is not None
        for line in range(hint.lineno, hint.end_lineno + 1)
        for column in range(
            hint.col_offset if line == hint.lineno else 0,
            hint.end_col_offset if line == hint.end_lineno else 1000,
        )
    }


def change(item: Any) -> str:
    """What a work item of cosmic-ray does at its place; its number is another one in every session."""
    (mutation,) = item.mutations
    return f"{mutation.operator_name} {mutation.operator_args} {mutation.occurrence}"


def sample(session: str, count: int, seed: int) -> None:
    """Keep one random mutant of each place in the code, none in type hints, and of these `count`.

    Every module has its share, and at least one. They are in such an order that a shorter sample is the
    beginning of a longer one, so a run that is stopped is a sample too.
    """
    from cosmic_ray.work_db import WorkDB, use_db

    draw = random.Random(seed)
    with use_db(session, WorkDB.Mode.open) as database:
        places: dict[str, dict[tuple, list]] = {}
        hints: dict[Path, set] = {}
        for item in database.work_items:
            (mutation,) = item.mutations
            hints.setdefault(mutation.module_path, annotations(mutation.module_path))
            if tuple(mutation.start_pos) not in hints[mutation.module_path]:
                of_module = places.setdefault(str(mutation.module_path), {})
                of_module.setdefault(tuple(mutation.start_pos), []).append(item)
        ranked = []
        for module, of_module in sorted(places.items()):
            kept = [draw.choice(sorted(of_module[place], key=change)) for place in sorted(of_module)]
            draw.shuffle(kept)
            shares = [(rank > 0, (rank + draw.random()) / len(kept), module) for rank in range(len(kept))]
            ranked += zip(shares, kept, strict=True)
        ranked.sort(key=lambda each: each[0])
        total = database.num_work_items
        database.clear()
        database.add_work_items([item for _, item in ranked[:count]])
    sys.stdout.write(
        f"{total} mutants, at {len(ranked)} places in {len(places)} modules; "
        f"{min(count, len(ranked))} are tried\n"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["sample"]:
        sample(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache/jaxprune-mutants"))
        raise SystemExit(test_what_is_mutated())
