"""Code behind *Dropout and Batch Normalization: an executable book*.

layers         neural-network layers in NumPy, forward and backward by hand
init           initial values for their weights
optim          optimizers and learning-rate schedules in NumPy
gradcheck      central differences against ``backward``
nn             PyTorch modules that ``torch.nn`` lacks; fold_batchnorm and others
data           data sets that need no download, split by seed
replicates     many seeds of a PyTorch model at once, paired comparison, verdict
plots          one style for all figures
checks         the exercises' checkers
"""

from dropnorm.randomness import reproducible

__all__ = ["reproducible"]
__version__ = "0.1.0"
