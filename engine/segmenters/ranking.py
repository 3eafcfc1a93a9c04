"""Which 2D segmenters there are, best first: the order in which "auto" takes what is at hand.

Where the order comes from:

- among the SAMs, and of these before all others: their published accuracy at one click (Kirillov et al. 2023 for H, L
  and B; Zhang et al. 2023 for MobileSAM). None of their weights could be loaded where this was written.
- clicknet and the graph cut: `sa3d evaluate segmenters` on the shared capture `tabletop`.

`sa3d evaluate segmenters CAPTURE` makes the same table of whatever a machine has weights for.
"""

from __future__ import annotations

from engine.segmenters.weights_table import WEIGHTS

__all__ = ["CLICKNET", "GRAPH_CUT", "RANKING", "SEGMENTERS"]

CLICKNET, GRAPH_CUT = "clicknet", "graph-cut"
RANKING = (*WEIGHTS, CLICKNET, GRAPH_CUT)
SEGMENTERS = ("auto", *RANKING)
