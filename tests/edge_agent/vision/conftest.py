"""The released model, loaded once; rendered plates with exact truth."""

from datetime import UTC, datetime
from pathlib import Path

import cv2
import pytest

from edge_agent.cameras.frame import Frame
from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import Model, load_model


@pytest.fixture(scope="session")
def release() -> Path:
    """The folder of the model release that ships."""
    return SHIPPED_MODEL


@pytest.fixture(scope="session")
def model(release: Path) -> Model:
    """The released model in the preferred runtime."""
    return load_model(release)


def frame(content: bytes, name: str = "plate.jpg") -> Frame:
    """A frame of these bytes."""
    return Frame(content, name, datetime(2026, 11, 20, tzinfo=UTC), 0)


def jpeg(image_bgr: object) -> bytes:
    """A JPEG file of a picture."""
    return cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
