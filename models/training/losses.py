"""What the detector is taught: which grid cells answer for which box, and how wrong they are.

A cell answers for a box when its centre is within one stride of the box's centre; boxes go to the stride that suits
their size, with an overlap so that wells near a limit are seen by both. Scores learn the overlap itself (quality
focal loss), so a good score means a good box.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.training.nets import DETECTOR_CLASSES, INPUT_HEIGHT, INPUT_WIDTH, STRIDES
from models.training.spec import UNSEEN, Floats

SIDE_LIMITS_PX = ((0.0, 54.0), (40.0, 190.0), (150.0, np.inf))
PLATE_WEIGHT = 8.0  # a plate has some ten cells, wells have hundreds


def cell_centres() -> Floats:
    """Centres of all cells of all strides, (cells, 2), in input pixels."""
    parts = []
    for stride in STRIDES:
        y, x = np.mgrid[0 : INPUT_HEIGHT // stride, 0 : INPUT_WIDTH // stride]
        parts.append((np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * stride)
    return np.asarray(np.concatenate(parts), np.float32)


def assign(boxes: Floats) -> tuple[Floats, Floats]:
    """Per cell its class (−1 for none, −2 for an unseen well) and its box, for rows of x1, y1, x2, y2, class."""
    classes, targets = [], []
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    side = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, initial=0)
    for stride, (least, most) in zip(STRIDES, SIDE_LIMITS_PX, strict=True):
        columns, rows = INPUT_WIDTH // stride, INPUT_HEIGHT // stride
        owner = np.full(rows * columns, -1, np.int64)
        here = np.flatnonzero((side >= least) & (side < most))
        reach = stride * (1.3 if stride == 32 else 1.0)
        offsets = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
        cells = np.floor(centre[here] / stride)[:, None].astype(np.int64) + offsets
        apart = np.abs((cells + 0.5) * stride - centre[here][:, None]).max(axis=-1)
        valid = (apart <= reach) & (cells >= 0).all(axis=-1) & (cells < [columns, rows]).all(axis=-1)
        order = np.argsort(-apart[valid], kind="stable")  # the nearest box writes last and wins
        index = (cells[..., 1] * columns + cells[..., 0])[valid][order]
        owner[index] = np.broadcast_to(here[:, None], valid.shape)[valid][order]
        taken = owner >= 0
        level_boxes = np.zeros((rows * columns, 4), np.float32)
        level_boxes[taken] = boxes[owner[taken], :4]
        level_classes = np.full(rows * columns, -1, np.float32)
        level_classes[taken] = boxes[owner[taken], 4]
        classes.append(level_classes)
        targets.append(level_boxes)
    return np.concatenate(classes), np.concatenate(targets)


class DetectorLoss:
    """Overlap, distance and quality focal loss over all cells of a batch."""

    def __init__(self) -> None:
        self._centres = torch.from_numpy(cell_centres())
        per_level = [(INPUT_HEIGHT // s) * (INPUT_WIDTH // s) for s in STRIDES]
        self._strides = torch.repeat_interleave(torch.tensor(STRIDES, dtype=torch.float32), torch.tensor(per_level))

    def __call__(self, outputs: tuple[Tensor, ...], classes: Tensor, targets: Tensor) -> tuple[Tensor, float]:
        """The loss and the mean overlap of the answering cells."""
        distances = torch.cat([t.float().flatten(2).transpose(1, 2) for t in outputs[0::2]], 1)
        logits = torch.cat([t.float().flatten(2).transpose(1, 2) for t in outputs[1::2]], 1)
        taken = classes >= 0
        batch = classes.shape[0]
        centres = self._centres.expand(batch, -1, -1)[taken]
        reach = distances[taken] * self._strides.expand(batch, -1)[taken][:, None]
        boxes = torch.cat([centres - reach[:, :2], centres + reach[:, 2:]], 1)
        truth, kind = targets[taken], classes[taken].long()
        overlap, generalised = _overlaps(boxes, truth)
        size = (truth[:, 2:] - truth[:, :2]).amax(1, keepdim=True)
        off_sides = ((boxes - truth).abs() / size).mean(1)
        off_centre = ((boxes[:, :2] + boxes[:, 2:] - truth[:, :2] - truth[:, 2:]).abs() / size).mean(1)
        weight = torch.where(kind == 0, PLATE_WEIGHT, 1.0)
        box_loss = ((1.5 * (1 - generalised) + 4 * off_sides + 2 * off_centre) * weight).sum() / weight.sum().clamp(
            min=1
        )
        wanted = torch.zeros_like(logits)
        wanted[taken] = (
            functional.one_hot(kind, len(DETECTOR_CLASSES)).float() * overlap.detach().clamp(0.05, 1)[:, None]
        )
        surprise = (logits.sigmoid() - wanted).square()
        score_loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * surprise
        score_weight = torch.tensor([4.0, 1.0]) * (classes != UNSEEN)[..., None]
        total = box_loss + 2 * (score_loss * score_weight).sum() / taken.sum().clamp(min=1)
        return total, float(overlap.detach().mean()) if len(overlap) else 0.0


def _overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, plain and generalised, of paired boxes."""
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1) + 1e-6
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inner + 1e-6
    overlap = inner / union
    return overlap, overlap - (hull - union) / hull
