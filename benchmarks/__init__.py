"""One file per question; each writes a table to `benchmarks/results`."""

import experiments  # noqa: F401  as the commands do, it switches off what reads unwritten memory
