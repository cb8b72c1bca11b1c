"""Command lines: `python -m experiments.sweep`. They only parse, call the library and print."""
