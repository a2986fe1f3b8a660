"""Scores: how well a source answers a query, before anything is normalised.

Shapes: B windows, K heads, Q queries (one per future patch), S sources: Lp past patches from
oldest to newest, then the sentinels (the last value, the level), which lie at no time. k is the
size of a query and of a key.

`projected` says what these are. True: learnt linear maps of the encoder states, one for every head
(the head projections of Vaswani et al. 2017, section 3.2.2). False: the states themselves, which
all heads share; only what a learnt query or sentinel adds to them differs from head to head. Every
further projection is in the score, as its paper has it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes that a score or a prior is built for."""

    heads: int
    key_size: int
    """Size of each query and key."""
    inner_size: int
    """Size of what a score computes in between."""
    queries: int
    past: int
    """Past patches: the first sources."""
    sentinels: int
    """Sources after them that lie at no time; 0 in self-attention."""
    patch_length: int
    """Steps in a patch."""
    season_length: int
    """Steps in a season; 1 where there is none."""

    @property
    def sources(self) -> int:
        """Number of sources."""
        return self.past + self.sentinels


class Dot(nn.Module):
    """score = q . k (Luong et al. 2015, equation 8, dot).

    Nothing is projected: the key size is that of the encoder states, so that sizes match.
    """

    projected = False

    def __init__(self, _: Shape) -> None:
        super().__init__()

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Score queries (B, K, Q, k) against keys (B, K, S, k): (B, K, Q, S)."""
        return queries @ keys.transpose(2, 3)


class ScaledDot(nn.Module):
    """score = q . k / sqrt(k) (Vaswani et al. 2017, equation 1), queries and keys projected."""

    projected = True

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.scale = shape.key_size**-0.5

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Score as `Dot.forward`."""
        scores: Tensor = queries @ keys.transpose(2, 3) * self.scale
        return scores


class General(nn.Module):
    """score = q . W k (Luong et al. 2015, equation 8, general); W is k x k."""

    projected = False

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.between = _weight(shape.heads, shape.key_size, shape.key_size)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Score as `Dot.forward`."""
        return queries @ self.between @ keys.transpose(2, 3)


class Additive(nn.Module):
    """score = v . tanh(W q + U k) (Bahdanau et al. 2015, appendix A.1.2).

    Luong et al. 2015, equation 8, call it concat: there W and U are one matrix side by side.
    """

    projected = False

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.of_query = _weight(shape.heads, shape.key_size, shape.inner_size)
        self.of_key = _weight(shape.heads, shape.key_size, shape.inner_size)
        self.of_sum = _weight(shape.heads, shape.inner_size, 1)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Score as `Dot.forward`."""
        sums = (queries @ self.of_query).unsqueeze(3) + (keys @ self.of_key).unsqueeze(2)
        return (sums.tanh() @ self.of_sum.unsqueeze(1)).squeeze(4)


class Location(nn.Module):
    """score = W q (Luong et al. 2015, equation 10): one row of W for every source, keys unseen.

    A source is identified by its position; each sentinel has one after the patches.
    """

    projected = False

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.of_query = _weight(shape.heads, shape.key_size, shape.sources)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Score as `Dot.forward`, whatever the keys are."""
        scores: Tensor = queries @ self.of_query
        return scores


class Local(nn.Module):
    """score = q . W k - (s - p)^2 / (2 sigma^2) (Luong et al. 2015, section 3.2, local-p).

    p = Lp sigmoid(v . tanh(W_p q)) is where the query expects its patch (equation 9), s the place
    of the source, sigma = D / 2 with the half window D a quarter of the context. Equation 10
    multiplies normalised weights by the Gaussian; here its logarithm is added before, so that they
    still sum to 1. A sentinel lies at no time and so at no distance: it gets the score alone.
    """

    projected = False
    places: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.content = General(shape)
        self.inner = _weight(shape.heads, shape.key_size, shape.inner_size)
        self.centre = _weight(shape.heads, shape.inner_size, 1)
        self.past, self.sentinels = shape.past, shape.sentinels
        self.sigma = max(1.0, shape.past / 4) / 2
        self.register_buffer("places", torch.arange(self.past), persistent=False)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Score as `Dot.forward`."""
        gaussian = nn.functional.pad(self.log_gaussian(queries), (0, self.sentinels))
        scores: Tensor = self.content(queries, keys) + gaussian
        return scores

    def log_gaussian(self, queries: Tensor) -> Tensor:
        """Return the log-prior (B, K, Q, Lp) of the past patches."""
        centre = self.past * ((queries @ self.inner).tanh() @ self.centre).sigmoid()
        log: Tensor = -(self.places - centre).square() / (2 * self.sigma**2)
        return log


def _weight(heads: int, inputs: int, outputs: int) -> nn.Parameter:
    """Return one matrix per head, (K, inputs, outputs), that is multiplied from the right."""
    bound = 1 / math.sqrt(inputs)
    return nn.Parameter(torch.empty(heads, inputs, outputs).uniform_(-bound, bound))


Score = Callable[[Shape], nn.Module]

SCORES: Mapping[str, Score] = {
    "scaled_dot": ScaledDot,
    "dot": Dot,
    "general": General,
    "additive": Additive,
    "location": Location,
    "local": Local,
}
"""Built with a shape; called with queries and keys as `Dot.forward`. `concat` is `additive`."""
