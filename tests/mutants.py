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

TESTS = {
    "jaxprune/evaluation.py": ["tests/test_evaluation.py"],
    "jaxprune/certification/visited.py": ["tests/certification/test_visited.py", "tests/test_by_hand.py"],
    "jaxprune/certification/tables.py": ["tests/test_by_hand.py", "tests/test_certificates_hold.py"],
    "jaxprune/tables.py": ["tests/test_by_hand.py"],
    "jaxprune/sweep.py": ["tests/test_options.py", "tests/test_by_hand.py", "tests/test_sweep.py"],
    "jaxprune/attack_search": ["tests/attack_search"],
}
"""By module or package, the cheapest tests first."""


def tests_of(path: str) -> list[str]:
    return next(tests for start, tests in TESTS.items() if path.startswith(start))


def test_what_is_mutated() -> int:
    """The exit code of the tests of the one file that is changed."""
    changed = subprocess.run(
        ["git", "diff", "--name-only", "--", *TESTS], check=True, capture_output=True, text=True
    )
    (path,) = changed.stdout.split()
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *tests_of(path)], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).returncode


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


def sample(session: str, count: int, seed: int) -> None:
    """Keep one random mutant of each place in the code, none in type hints, and of these `count`."""
    from cosmic_ray.work_db import WorkDB, use_db

    draw = random.Random(seed)
    with use_db(session, WorkDB.Mode.open) as database:
        places: dict[tuple, list] = {}
        hints: dict[Path, set] = {}
        for item in database.work_items:
            (mutation,) = item.mutations
            hints.setdefault(mutation.module_path, annotations(mutation.module_path))
            if tuple(mutation.start_pos) not in hints[mutation.module_path]:
                places.setdefault((str(mutation.module_path), mutation.start_pos), []).append(item)
        kept = [draw.choice(places[place]) for place in sorted(places)]
        chosen = draw.sample(kept, min(count, len(kept)))
        total = database.num_work_items
        database.clear()
        database.add_work_items(chosen)
    sys.stdout.write(f"{total} mutants, at {len(kept)} places; {len(chosen)} are tried\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["sample"]:
        sample(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache/jaxprune-mutants"))
        raise SystemExit(test_what_is_mutated())
