"""PyTorch modules that ``torch.nn`` lacks, and helpers around its batch norm.

Spatial dropout is ``torch.nn.Dropout2d``; alpha dropout, layer and group norm are
``torch.nn``'s as well. Here, too, `p` is the probability to **drop**. Random layers
draw from PyTorch's global generator, in training mode only and not at all if p = 0;
``layer.sample(x, generator)`` is the draw alone.
"""

from dropnorm.nn.batchnorm import (
    BatchRenorm1d,
    BatchRenorm2d,
    GhostBatchNorm1d,
    GhostBatchNorm2d,
    SyncBatchNorm,
)
from dropnorm.nn.dropout import (
    DropBlock2d,
    DropConnectLinear,
    GaussianDropout,
    OriginalDropout,
    RandomLayer,
    StochasticDepth,
)
from dropnorm.nn.evaluation import (
    fold_batchnorm,
    monte_carlo_dropout,
    reestimate_statistics,
)
from dropnorm.nn.recurrent import VariationalDropout, VariationalGRU, VariationalLSTM

__all__ = [
    "BatchRenorm1d",
    "BatchRenorm2d",
    "DropBlock2d",
    "DropConnectLinear",
    "GaussianDropout",
    "GhostBatchNorm1d",
    "GhostBatchNorm2d",
    "OriginalDropout",
    "RandomLayer",
    "StochasticDepth",
    "SyncBatchNorm",
    "VariationalDropout",
    "VariationalGRU",
    "VariationalLSTM",
    "fold_batchnorm",
    "monte_carlo_dropout",
    "reestimate_statistics",
]
