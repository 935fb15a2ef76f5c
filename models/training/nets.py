"""The two networks: WellsNet finds plates and wells in a whole picture, CallsNet names what lies in one well.

Only ReLU and plain convolutions with batch normalisation: they fuse into int8 convolutions that both runtimes run
well (SiLU and depthwise layers cost tflite-runtime dearly on x86, measured). WellsNet returns six tensors, box and
class per stride, because one concatenated tensor would share one int8 scale and lose the scores.
"""

# torch is not imported by the type checker, so its Module is Any there.
# mypy: disable-error-code="misc"

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
DETECTOR_CLASSES = ("plate", "well")
INPUT_HEIGHT, INPUT_WIDTH = 480, 640


class Conv(nn.Module):
    """Convolution, batch normalisation, ReLU. Stride 2 pads like TensorFlow's SAME, or export would shift boxes."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.halving = stride == 2
        padding = 0 if self.halving else size // 2
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        if self.halving:
            x = functional.pad(x, (0, 1, 0, 1))
        return functional.relu(self.norm(self.conv(x)))


class Separable(nn.Module):
    """Depthwise then pointwise: cheap 3 × 3 context in the heads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth = Conv(channels, channels, 3, groups=channels)
        self.point = Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.point(self.depth(x))


class Residual(nn.Module):
    """Two 3 × 3 convolutions beside an optional short cut."""

    def __init__(self, channels: int, *, short_cut: bool) -> None:
        super().__init__()
        self.first, self.second = Conv(channels, channels, 3), Conv(channels, channels, 3)
        self.short_cut = short_cut

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self.short_cut else y


class Split(nn.Module):
    """Cross-stage partial block: half of the channels pass the residual blocks, half pass by."""

    def __init__(self, inputs: int, outputs: int, blocks: int = 1, *, short_cut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.deep, self.flat, self.join = Conv(inputs, half), Conv(inputs, half), Conv(2 * half, outputs)
        self.blocks = nn.Sequential(*[Residual(half, short_cut=short_cut) for _ in range(blocks)])

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([self.blocks(self.deep(x)), self.flat(x)], 1))


class Pyramid(nn.Module):
    """Spatial pyramid pooling: a plate fills the picture, so the last stage must see all of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow, self.join = Conv(channels, channels // 2), Conv(channels * 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.narrow(x)
        a = functional.max_pool2d(x, 5, 1, 2)
        b = functional.max_pool2d(a, 5, 1, 2)
        return self.join(torch.cat([x, a, b, functional.max_pool2d(b, 5, 1, 2)], 1))


class Head(nn.Module):
    """Box distances (left, top, right, bottom in strides, never negative) and class logits of one stride."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.box = nn.Sequential(Conv(channels, channels, 3), Separable(channels), nn.Conv2d(channels, 4, 1))
        self.logits = nn.Sequential(Separable(channels), Separable(channels), nn.Conv2d(channels, classes, 1))
        for branch, bias in ((self.box, 1.0), (self.logits, -4.0)):
            last = branch[-1]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            nn.init.normal_(last.weight, std=0.01)
            nn.init.constant_(last.bias, bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return functional.relu(self.box(x)), self.logits(x)


class WellsNet(nn.Module):
    """Backbone, two-way neck, three heads; about a million parameters."""

    def __init__(self, channels: tuple[int, int, int, int, int] = (16, 24, 48, 88, 120)) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = channels
        self.stem = nn.Sequential(Conv(3, c1, 3, 2), Conv(c1, c2, 3, 2), Split(c2, c2))
        self.to_8 = nn.Sequential(Conv(c2, c3, 3, 2), Split(c3, c3, 2))
        self.to_16 = nn.Sequential(Conv(c3, c4, 3, 2), Split(c4, c4, 2))
        self.to_32 = nn.Sequential(Conv(c4, c5, 3, 2), Split(c5, c5), Pyramid(c5), Conv(c5, c4))
        self.up_16, self.narrow_16 = Split(2 * c4, c4, short_cut=False), Conv(c4, c3)
        self.up_8 = Split(2 * c3, c3, short_cut=False)
        self.down_16, self.join_16 = Conv(c3, c4, 3, 2), Split(2 * c4, c4, short_cut=False)
        self.down_32, self.join_32 = Conv(c4, c4, 3, 2), Split(2 * c4, c4, short_cut=False)
        self.heads = nn.ModuleList([Head(c, len(DETECTOR_CLASSES)) for c in (c3, c4, c4)])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Six tensors: box and logits at strides 8, 16, 32."""
        at_8 = self.to_8(self.stem(x))
        at_16 = self.to_16(at_8)
        at_32 = self.to_32(at_16)
        middle = self.up_16(torch.cat([_double(at_32), at_16], 1))
        fine = self.up_8(torch.cat([_double(self.narrow_16(middle)), at_8], 1))
        middle = self.join_16(torch.cat([self.down_16(fine), middle], 1))
        coarse = self.join_32(torch.cat([self.down_32(middle), at_32], 1))
        outputs: list[Tensor] = []
        for head, features in zip(self.heads, (fine, middle, coarse), strict=True):
            outputs += head(features)
        return tuple(outputs)


class CallsNet(nn.Module):
    """One well's patch (64 × 64) to five logits; 66 thousand parameters, 4.8 million multiplications.

    It halves the patch at once: three layers at full and half size were half of the cost in v2 and before.
    """

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        widths = ((3, 16, 2), (16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 48, 1), (48, 72, 2))
        self.features = nn.Sequential(*[Conv(i, o, 3, s) for i, o, s in widths])
        self.drop = nn.Dropout(0.1)
        self.logits = nn.Linear(72, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.drop(self.features(x).mean((2, 3))))


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")
