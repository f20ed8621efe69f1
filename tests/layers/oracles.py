"""What the tests of the layers compare with."""

import numpy as np
import torch

TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5}


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class Replay:
    """A stand-in for a generator: uniforms that keep exactly where `keep` says."""

    def __init__(self, keep):
        self.keep = keep

    def random(self, size, dtype):
        assert size == self.keep.shape
        return self.keep.astype(dtype)  # 1 is above every p < 1, 0 below every p > 0


def share_parameters(layer, module, seed=7):
    """Random parameters, the same in a layer and its PyTorch counterpart."""
    rng = np.random.default_rng(seed)
    parameters = dict(module.named_parameters())
    assert layer.params.keys() == parameters.keys()
    for name, array in layer.params.items():
        assert array.shape == parameters[name].shape
        array[...] = rng.standard_normal(array.shape)
        parameters[name].data.copy_(torch.from_numpy(array))


def agree(got, expected, tolerance):
    """Equal up to `tolerance`, relative to each entry and to the largest one."""
    expected = expected.detach().numpy()
    largest = abs(expected[np.isfinite(expected)]).max(initial=1)
    np.testing.assert_allclose(got, expected, tolerance, tolerance * largest)


def compare_with_torch(layer, module, x, rtol, dy=None):
    """Output, all gradients and all buffers of a layer and its counterpart agree."""
    # PyTorch takes no negative strides
    x_torch = torch.tensor(np.ascontiguousarray(x), requires_grad=True)
    before = x.copy()
    y = layer(x)
    y_torch = module(x_torch)
    agree(y, y_torch, rtol)
    dy = normal(*y.shape, seed=1, dtype=x.dtype) if dy is None else dy
    dx = layer.backward(dy)
    module.zero_grad()
    y_torch.backward(torch.tensor(np.ascontiguousarray(dy)))
    agree(dx, x_torch.grad, rtol)
    for name, parameter in module.named_parameters():
        agree(layer.grads[name], parameter.grad, rtol)
    assert layer.grads.keys() == dict(module.named_parameters()).keys()
    buffers = dict(module.named_buffers())
    assert layer.buffers.keys() == buffers.keys()
    for name, buffer in buffers.items():
        agree(layer.buffers[name], buffer, rtol)
        assert layer.buffers[name].dtype == buffer.numpy().dtype
    for array in (y, dx, *layer.grads.values()):
        assert array.dtype == x.dtype
    np.testing.assert_array_equal(x, before)


def assert_binomial(successes, trials, q, alpha=1e-9):
    """Chernoff's bound: n KL(K/n ‖ q) ≤ ln(2/α), whatever the seed."""
    rate = successes / trials
    divergence = sum(
        a * np.log(a / b) for a, b in [(rate, q), (1 - rate, 1 - q)] if a > 0
    )
    assert trials * divergence <= np.log(2 / alpha), f"rate {rate:.4f}, expected {q}"
