"""The page that people look at: one HTML file made of the tables of one run or several. Knows no JAX."""

from jaxprune.report.page.assembly import NAME, document, write_report
from jaxprune.report.page.run import Run, is_run, read_run

__all__ = ["NAME", "Run", "document", "is_run", "read_run", "write_report"]
