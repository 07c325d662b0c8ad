"""The text encoder, as Triton's Python backend loads it. All of it lives in `encoders/`."""

from encoders.triton_shell import TritonPythonModel

__all__ = ["TritonPythonModel"]
