"""What `benchmarks.run` is made of: rows, how each is measured, what is kept of it, and the report."""
