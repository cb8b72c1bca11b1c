"""A policy to take away: its weights as safetensors and JSON, as ONNX, as NumPy, and a card of what is known.

What the folder holds is read back by `--agent FOLDER/policy.safetensors`, to the same outputs bit for bit.
"""

from jaxprune.export.onnx_graph import onnx_graph
from jaxprune.export.procedure import NAMES, Known, export

__all__ = ["NAMES", "Known", "export", "onnx_graph"]
