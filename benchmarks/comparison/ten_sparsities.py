"""Train ten members at ten sparsities and nothing else: what `benchmarks.run` times from start to end.

`python -m benchmarks.comparison.ten_sparsities STEPS`
"""

import sys

from jaxprune import SweepSpec, device
from jaxprune.job import job
from jaxprune.progress import Meter
from jaxprune.sweep import train


def main() -> None:
    device.keep_compiled()
    with Meter() as meter:
        train(job(SweepSpec(steps=int(sys.argv[1]))), None, meter)


if __name__ == "__main__":
    main()
