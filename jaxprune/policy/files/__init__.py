"""Policies in files: those of other libraries, read without running a line that came with them, and our own.

A family of files is a record, `Reader`, in a file of its own; `READERS` lists them all.
"""

from jaxprune.policy.files.catalogue import READERS, read_adversary, read_agent, read_policy, readable
from jaxprune.policy.files.exported import describe, to_bytes
from jaxprune.policy.files.fitting import check_sizes, fit
from jaxprune.policy.files.record import PolicyFile, Reader

__all__ = [
    "READERS",
    "PolicyFile",
    "Reader",
    "check_sizes",
    "describe",
    "fit",
    "read_adversary",
    "read_agent",
    "read_policy",
    "readable",
    "to_bytes",
]
