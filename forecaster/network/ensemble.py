"""Ensembles: networks that differ in their seed alone, and whose forecasts are averaged."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TypeAlias

import torch
from torch import Tensor, nn

from forecaster.network.network import AttentionLSTM, NetworkOutput


class Ensemble(nn.Module):
    """Members with one spec: every part of their outputs is the mean over them.

    Level and spread come from the window alone, so all members share them; quantiles, copied, last
    value, residual and weights are linear in the parts, so their means still add up exactly.
    """

    def __init__(self, members: Sequence[AttentionLSTM]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.spec = members[0].spec

    def forward(self, *inputs: Tensor | None) -> NetworkOutput:
        """Forecast as a member does, from the same inputs."""
        outputs = [member(*inputs) for member in self.members]
        means = {
            field.name: torch.stack([getattr(output, field.name) for output in outputs]).mean(0)
            for field in fields(NetworkOutput)
        }
        return NetworkOutput(**means)


Network: TypeAlias = AttentionLSTM | Ensemble


def assemble(members: Sequence[AttentionLSTM]) -> Network:
    """Return one network for all `members`; a single one is itself."""
    return members[0] if len(members) == 1 else Ensemble(members)


def disassemble(network: Network) -> list[AttentionLSTM]:
    """Undo `assemble`."""
    if isinstance(network, AttentionLSTM):
        return [network]
    return [member for member in network.members if isinstance(member, AttentionLSTM)]
