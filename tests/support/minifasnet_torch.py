"""MiniFASNet in PyTorch, with the names of its published weights; only imported where PyTorch is."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn


class Block(nn.Module):
    """A convolution, a normalisation and perhaps a PReLU."""

    def __init__(self, shapes: Mapping[str, Any], name: str, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        out, per_group, *kernel = shapes[f"{name}.conv.weight"]
        depthwise = name.endswith("_dw")
        groups = out if depthwise else 1
        self.conv = nn.Conv2d(per_group * groups, out, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.prelu = nn.PReLU(out) if f"{name}.prelu.weight" in shapes else nn.Identity()

    def forward(self, value: torch.Tensor) -> Any:  # noqa: ANN401  # PyTorch says no more
        return self.prelu(self.bn(self.conv(value)))


class Excitation(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, shapes: Mapping[str, Any], name: str) -> None:
        super().__init__()
        few, many = shapes[f"{name}.fc1.weight"][:2]
        self.fc1, self.bn1 = nn.Conv2d(many, few, 1, bias=False), nn.BatchNorm2d(few)
        self.fc2, self.bn2 = nn.Conv2d(few, many, 1, bias=False), nn.BatchNorm2d(many)

    def forward(self, value: torch.Tensor) -> Any:  # noqa: ANN401  # likewise
        few = torch.relu(self.bn1(self.fc1(nn.functional.adaptive_avg_pool2d(value, 1))))
        return value * torch.sigmoid(self.bn2(self.fc2(few)))


class Bottleneck(nn.Module):
    """A depthwise convolution between two that widen and narrow."""

    def __init__(self, shapes: Mapping[str, Any], name: str, *, stride: int, residual: bool) -> None:
        super().__init__()
        self.conv = Block(shapes, f"{name}.conv")
        self.conv_dw = Block(shapes, f"{name}.conv_dw", stride, 1)
        self.project = Block(shapes, f"{name}.project")
        if f"{name}.se_module.fc1.weight" in shapes:
            self.se_module: nn.Module = Excitation(shapes, f"{name}.se_module")
        else:
            self.se_module = nn.Identity()
        self.residual = residual

    def forward(self, value: torch.Tensor) -> Any:  # noqa: ANN401  # likewise
        inner = self.se_module(self.project(self.conv_dw(self.conv(value))))
        return value + inner if self.residual else inner


class Residual(nn.Module):
    """Bottlenecks one after another."""

    def __init__(self, shapes: Mapping[str, Any], name: str) -> None:
        super().__init__()
        numbers: Iterable[int] = sorted({int(key.split(".")[2]) for key in shapes if key.startswith(f"{name}.model.")})
        blocks = (Bottleneck(shapes, f"{name}.model.{number}", stride=1, residual=True) for number in numbers)
        self.model = nn.Sequential(*blocks)

    def forward(self, value: torch.Tensor) -> Any:  # noqa: ANN401  # likewise
        return self.model(value)


class MiniFASNet(nn.Module):
    """The network whose weights have these shapes."""

    def __init__(self, shapes: Mapping[str, Any]) -> None:
        super().__init__()
        self.conv1 = Block(shapes, "conv1", 2, 1)
        self.conv2_dw = Block(shapes, "conv2_dw", 1, 1)
        self.conv_23 = Bottleneck(shapes, "conv_23", stride=2, residual=False)
        self.conv_3 = Residual(shapes, "conv_3")
        self.conv_34 = Bottleneck(shapes, "conv_34", stride=2, residual=False)
        self.conv_4 = Residual(shapes, "conv_4")
        self.conv_45 = Bottleneck(shapes, "conv_45", stride=2, residual=False)
        self.conv_5 = Residual(shapes, "conv_5")
        self.conv_6_sep = Block(shapes, "conv_6_sep")
        self.conv_6_dw = Block(shapes, "conv_6_dw")
        self.linear = nn.Linear(*shapes["linear.weight"][::-1], bias=False)
        self.bn = nn.BatchNorm1d(shapes["linear.weight"][0])
        self.prob = nn.Linear(*shapes["prob.weight"][::-1], bias=False)

    def forward(self, value: torch.Tensor) -> Any:  # noqa: ANN401  # likewise
        value = self.conv2_dw(self.conv1(value))
        value = self.conv_3(self.conv_23(value))
        value = self.conv_4(self.conv_34(value))
        value = self.conv_5(self.conv_45(value))
        value = self.conv_6_dw(self.conv_6_sep(value)).flatten(1)
        return self.prob(self.bn(self.linear(value)))
