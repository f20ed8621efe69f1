"""The oracle of the layers' tests: the PyTorch module of the same name."""

import numpy as np
import pytest
import torch

# Relative to the largest entry; float32 rounds at 6e-8 and sums up to 1,000 terms.
TOLERANCE = {"float64": 1e-12, "float32": 3e-6}


def agree(got, expected):
    expected = expected.detach().numpy()
    assert got.dtype == expected.dtype
    tol = TOLERANCE[got.dtype.name]
    atol = tol * max(1, abs(expected).max(initial=0))
    np.testing.assert_allclose(got, expected, tol, atol)


@pytest.fixture
def same_as_torch():
    """Check: outputs and all gradients of a layer and a module agree, in any mode."""

    def check(layer, module, x, dy=None):
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(torch.from_numpy(layer.params[name]))
        assert layer.params.keys() == dict(module.named_parameters()).keys()
        before = x.copy()
        x_torch = torch.tensor(x.copy(), requires_grad=True)
        y, y_torch = layer(x), module(x_torch)
        agree(y, y_torch)
        if dy is None:
            dy = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
        y_torch.backward(torch.tensor(dy.copy()))
        agree(layer.backward(dy), x_torch.grad)
        assert layer.grads.keys() == layer.params.keys()
        for name, parameter in module.named_parameters():
            agree(layer.grads[name], parameter.grad)
        np.testing.assert_array_equal(x, before)

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
