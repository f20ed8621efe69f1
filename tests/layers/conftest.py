"""What convolution and pooling compare with, and how their input lies in memory."""

import pytest
import torch
from oracles import compare_with_torch

# Relative to the largest entry; float32 rounds at 6e-8 and sums up to 1,000 terms.
TOLERANCE = {"float64": 1e-12, "float32": 3e-6}


@pytest.fixture
def same_as_torch():
    """Check: with the layer's parameters, a module has its outputs and gradients."""

    def check(layer, module, x, dy=None):
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(torch.from_numpy(layer.params[name]))
        compare_with_torch(layer, module, x, TOLERANCE[x.dtype.name], dy)

    return check


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
    "strided": lambda x: x.repeat(2, axis=0).repeat(2, axis=3)[::2, :, :, ::-2],
}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    """Puts an array into memory in another order; the values may move."""
    return LAYOUTS[request.param]
