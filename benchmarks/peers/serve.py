"""How a peer's script speaks: one line of JSON about itself, then one for every line that it is sent.

So it starts and compiles once, and is measured whenever its turn comes: `echo 0 | python sb3_ppo.py`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any


def serve(packages: Iterable[str], measure: Callable[[int], dict[str, Any]]) -> None:
    """Say the versions, then answer every number on standard input with a measurement.

    measure: given the number, `{"amount": work done, "seconds": it took, "result": what came out, if any}`.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print is no answer
    _say(answers, {"versions": ", ".join(f"{name} {version(name)}" for name in packages)})
    for line in sys.stdin:
        _say(answers, measure(int(line)))


def timed(work: Callable[[], float]) -> dict[str, float]:
    """A measurement of a work that returns its amount."""
    began = time.perf_counter()
    amount = work()
    return {"amount": amount, "seconds": time.perf_counter() - began}


def _say(answers: Any, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()
