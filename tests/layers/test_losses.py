"""Losses against PyTorch, against finite differences, and on bad input."""

import numpy as np
import pytest
import torch
from oracles import TOLERANCE, normal

from dropnorm.gradcheck import numerical_gradient
from dropnorm.layers import CrossEntropyLoss, MSELoss


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cross_entropy_equals_torch(dtype):
    logits = torch.tensor(normal(6, 4), dtype=dtype) * 5 + 1e4
    target = np.array([0, 3, 1, 1, 2, 0])
    loss = CrossEntropyLoss()
    with_grad = logits.clone().requires_grad_()
    expected = torch.nn.functional.cross_entropy(with_grad, torch.tensor(target))
    expected.backward()
    value, gradient = loss(logits.numpy(), target), loss.backward()
    tolerance = TOLERANCE[logits.numpy().dtype.type]
    assert value == pytest.approx(expected.item(), rel=tolerance)
    np.testing.assert_allclose(gradient, with_grad.grad, tolerance, tolerance)
    assert gradient.dtype == logits.numpy().dtype


def test_cross_entropy_gradient_by_differences():
    logits, target = normal(3, 4), np.array([3, 0, 2])
    loss = CrossEntropyLoss()
    loss(logits, target)
    expected = numerical_gradient(lambda: CrossEntropyLoss()(logits, target), logits)
    np.testing.assert_allclose(loss.backward(), expected, atol=1e-9)


def test_cross_entropy_of_huge_logits_is_finite():
    loss = CrossEntropyLoss()
    assert loss(np.array([[1e4, 0.0]]), np.array([1])) == 1e4
    np.testing.assert_array_equal(loss.backward(), [[1.0, -1.0]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(6, 4), (5,), (2, 3, 4), ()])
def test_mse_equals_torch(shape, dtype):
    prediction, target = (
        torch.tensor(normal(*shape, seed=seed), dtype=dtype) for seed in (0, 1)
    )
    loss = MSELoss()
    prediction.requires_grad_()
    expected = torch.nn.functional.mse_loss(prediction, target)
    expected.backward()
    # [...] makes an array of the () case too
    value = loss(prediction.detach().numpy()[...], target.numpy()[...])
    tolerance = TOLERANCE[target.numpy().dtype.type]
    assert isinstance(value, float)
    assert value == pytest.approx(expected.item(), rel=tolerance)
    gradient = loss.backward()
    np.testing.assert_allclose(gradient, prediction.grad, tolerance, tolerance)
    assert gradient.dtype == target.numpy().dtype


def test_mse_gradient_by_differences():
    prediction, target = normal(3, 4), normal(3, 4, seed=1)
    loss = MSELoss()
    loss(prediction, target)
    expected = numerical_gradient(lambda: MSELoss()(prediction, target), prediction)
    np.testing.assert_allclose(loss.backward(), expected, atol=1e-9)


X = np.ones((2, 3))
BAD = [
    (lambda: MSELoss().backward(), ValueError,
     "backward of MSELoss needs a forward before it"),
    (lambda: MSELoss()(X, X[:, :1]), ValueError,
     r"target must have the shape of the prediction, \(2, 3\), got \(2, 1\)"),
    (lambda: MSELoss()(X, X[:, 0]), ValueError, r"got \(2,\)"),
    (lambda: MSELoss()(X, np.ones((2, 3), int)), TypeError,
     "target must be an array of float32 or float64, got int64"),
    (lambda: MSELoss()(np.ones((2, 3), int), X), TypeError, "prediction .* got int64"),
    (lambda: MSELoss()(X, X.astype(np.float32)), TypeError,
     "target must have the dtype of the prediction, float64, got float32"),
    (lambda: MSELoss()(X[:0], X[:0]), ValueError,
     r"prediction must not be empty, got shape \(0, 3\)"),
    (lambda: CrossEntropyLoss().backward(), ValueError, "needs a forward before it"),
    (lambda: CrossEntropyLoss()(X[0], np.array([0])), ValueError, r"shape \(N, K\)"),
    (lambda: CrossEntropyLoss()(X, np.array([0.0, 1.0])), TypeError, "integers"),
    (lambda: CrossEntropyLoss()(X, np.array([0])), ValueError,
     r"target must have shape \(2,\), got \(1,\)"),
    (lambda: CrossEntropyLoss()(X, np.array([0, 3])), ValueError,
     "target must lie between 0 and 2, got 0 to 3"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
