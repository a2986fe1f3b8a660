"""Train with an attention score of your own, and load such a model again.

    python examples/custom_score.py          # about a minute
    python examples/custom_score.py 4        # four steps of training, to see that it runs

A score is named by its path, "custom_score:Cosine", and has to be importable under it. For the
service it is the setting `score` under [datasets.NAME.model].
"""

import math
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import torch
from torch import Tensor, nn

import forecaster
from forecaster.network.score_functions import Shape

NAME = "custom_score:Cosine"


class Cosine(nn.Module):
    """score = c cos(q, k), with a learnt c for every head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.full((shape.heads, 1, 1), 5.0))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Queries (B, K, Q, k) and keys (B, K, S, k) to scores (B, K, Q, S)."""
        unit_queries = nn.functional.normalize(queries, dim=3)
        unit_keys = nn.functional.normalize(keys, dim=3)
        scores: Tensor = self.sharpness * unit_queries @ unit_keys.transpose(2, 3)
        return scores


def main(steps: int) -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    hours = range(6 * 7 * 24)
    rows = pl.DataFrame(
        {
            "series_id": "pump",
            "timestamp": [start + timedelta(hours=hour) for hour in hours],
            "value": [20 + 8 * math.sin(math.tau * hour / 24) + hour % 5 for hour in hours],
        }
    )
    model = forecaster.fit(
        rows, step="1h", horizon="12h", model={"score": NAME}, training={"steps": steps}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pump.safetensors")
        model.save(path)
        loaded = forecaster.Model.load(path, plugins=[NAME])  # imported only because it is named
    print(loaded.predict(rows).quantiles.select("timestamp", "q10", "q50", "q90"))


if __name__ == "__main__":
    main(steps=int(sys.argv[1]) if len(sys.argv) > 1 else 150)
