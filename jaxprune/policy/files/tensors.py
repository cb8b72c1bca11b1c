"""What is in a safetensors file: named arrays, and texts about them. It can hold no code.

The format: 8 bytes n, n bytes of JSON, numbers (https://github.com/huggingface/safetensors).
"""

import json
from typing import Any

from safetensors import numpy as safetensors

from jaxprune.policy.files.record import Arrays


def is_safetensors(content: bytes) -> bool:
    """Whether a file looks like one."""
    return content[8:9] == b"{" and _header_size(content) <= len(content) - 8


def arrays(content: bytes) -> Arrays:
    """All arrays by name."""
    return safetensors.load(content)


def texts(content: bytes) -> dict[str, str]:
    """What is written beside the arrays."""
    return _header(content).get("__metadata__", {})


def names(content: bytes) -> frozenset[str]:
    """The names of the arrays, without reading them; none where the file is broken."""
    try:
        return frozenset(_header(content)) - {"__metadata__"}
    except ValueError:
        return frozenset()


def _header(content: bytes) -> dict[str, Any]:
    return json.loads(content[8 : 8 + _header_size(content)])


def _header_size(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")
