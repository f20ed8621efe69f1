"""Train many seeds of one ordinary ``nn.Module`` at once, and compare two arms.

One run per arm is no evidence: the seed alone can move the test error by more than
the technique under test. `train` trains every arm with every seed and computes the
seeds of an arm side by side; `compare` turns two arms into a paired difference, its
99 % interval and a verdict.

**What a seed fixes.** For seed s: ``torch.manual_seed(s)``, build the model, and let
that generator go on to draw the dropout masks; ``numpy.random.default_rng([s, 1])``
orders the batches. `train_one` does this in plain PyTorch, and `train` gives each
seed the same weights up to rounding.

**How the seeds share one computation.** S networks with C channels are one network
with S·C channels: activations are (N, S·C, ...), and each parameter is the S ordinary
ones, joined along dimension 0. What works element by element or channel by channel
needs no change: activation functions, pooling, sums, products. Layers that mix
channels or draw random numbers have a batched form in ``joint.BATCHED``, the one place
to add another. In sequences (N, T, C) with features last the seeds are side by side in
the last dimension instead, (N, T, S·C). Which of the two a network means shows on
its first batch.

Before an arm is trained, this batch is computed both ways. Unless losses, gradients,
an optimizer step and the evaluation mode agree, and the network draws random numbers
in batched layers only, the seeds are trained one after another, and a line on standard
output says so.

**What is gained** is the cost of many small operations: much for narrow MLPs and
recurrent networks, little for a CNN, whose convolutions take as long side by side as
in turn. Arms in parallel processes come on top. ``benchmarks/replicates.py`` measures
it on your machine.

**What loops**: a layer marked ``in_turn`` there (ghost batch norm, batch
renormalization, DropConnect, alpha dropout, RReLU) loops over the seeds by itself, and
the layers around it do not. All seeds are trained one after another if a network or
layer has parameters, hooks or random numbers of its own and is not in ``BATCHED``; if
there are recurrent layers with projections, or embeddings with ``padding_idx``,
``max_norm`` or ``sparse``; or convolutional and recurrent parts in one network, with a
layer between them that cannot tell where its features are.
"""

from dropnorm.replicates.comparison import (
    Comparison,
    compare,
    expected_calibration_error,
)
from dropnorm.replicates.runs import Runs
from dropnorm.replicates.training import Recipe, train, train_one

__all__ = [
    "Comparison",
    "Recipe",
    "Runs",
    "compare",
    "expected_calibration_error",
    "train",
    "train_one",
]
