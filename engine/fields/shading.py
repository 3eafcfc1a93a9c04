"""The small network that makes colours of features and viewing directions, in every kind of field with a grid."""

from __future__ import annotations

from torch import nn


def colour_network(inputs: int, hidden: int) -> nn.Sequential:
    """Two hidden layers with ReLU; three outputs, of which a sigmoid makes colours."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 3)
    )
