"""A release with its networks as they were before they became int8, behind the device's own code.

What quantisation changes can only be told by reading the same pictures both ways. Everything but the arithmetic inside
the networks is the same: pictures reach them as the device's int8 pixels, and outputs come back with a scale of 1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ai_edge_litert.interpreter as litert
import numpy as np

from edge_agent.vision import Model

# As `export` leaves them beside the training data.
FLOAT_FILES = {"wells": "model-float.tflite", "calls": "calls-float.tflite", "legends": "legends-float.tflite"}


class FloatInterpreter:
    """A float network that takes and gives what an int8 one does: pixels less 128 in, (values, 1, 0) out."""

    def __init__(self, interpreter: Any) -> None:
        """Wrap an interpreter whose tensors are allocated."""
        self._interpreter = interpreter

    def get_input_details(self) -> list[dict[str, Any]]:
        """As the interpreter's own."""
        return list(self._interpreter.get_input_details())

    def get_output_details(self) -> list[dict[str, Any]]:
        """The interpreter's own, with a scale and zero point that leave values as they are."""
        return [{**detail, "quantization": (1.0, 0)} for detail in self._interpreter.get_output_details()]

    def set_tensor(self, index: int, values: Any) -> None:
        """Pixels as `edge_agent.vision.tensors.quantise` gives them."""
        self._interpreter.set_tensor(index, (values.astype(np.float32) + 128) / 255)

    def invoke(self) -> None:
        """Run the network."""
        self._interpreter.invoke()

    def get_tensor(self, index: int) -> Any:
        """An output, real values."""
        return self._interpreter.get_tensor(index)


def load_float_model(model: Model, folder: Path) -> Model | None:
    """`model` with the float networks that are in `folder`; None if none is.

    A network that was taken over from an earlier release has no float file here, and runs as int8 in both.
    """
    if not any((folder / file).exists() for file in FLOAT_FILES.values()):
        return None
    return replace(
        model,
        runtime="float",
        wells_interpreter=_float_or(model.wells_interpreter, folder / FLOAT_FILES["wells"]),
        calls_interpreter=_float_or(model.calls_interpreter, folder / FLOAT_FILES["calls"]),
        legends_interpreter=_float_or(model.legends_interpreter, folder / FLOAT_FILES["legends"]),
    )


def _float_or(interpreter: Any, path: Path) -> Any:
    return FloatInterpreter(_opened(path)) if path.exists() else interpreter


def _opened(path: Path) -> Any:
    interpreter = litert.Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
