"""The NumPy optimizers and schedules against PyTorch's, step by step."""

import copy

import numpy as np
import pytest
import torch

from dropnorm.data import digits
from dropnorm.layers import CrossEntropyLoss, Linear, ReLU, Sequential
from dropnorm.optim import (
    SGD,
    Adam,
    AdamW,
    CosineAnnealingLR,
    LinearLR,
    Optimizer,
    Schedule,
    SequentialLR,
    StepLR,
)

TORCH = {SGD: torch.optim.SGD, Adam: torch.optim.Adam, AdamW: torch.optim.AdamW}


def network_and_twin(dtype=np.float64):
    rng = np.random.default_rng(0)
    net = Sequential(
        Linear(64, 20, rng=rng, dtype=dtype),
        ReLU(),
        Linear(20, 10, rng=rng, dtype=dtype),
    )
    twin = torch.nn.Sequential(
        torch.nn.Linear(64, 20), torch.nn.ReLU(), torch.nn.Linear(20, 10)
    ).to(torch.from_numpy(net[0].weight).dtype)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            parameter.copy_(torch.from_numpy(net.params[name]))
    return net, twin


def compare_on_digits(net, ours, twin, theirs, tolerance, schedules=(), steps=100):
    """Train both on the same batches; losses, rates and weights agree."""
    split = digits(0, n_train=320)
    loss, losses = CrossEntropyLoss(), []
    for step in range(steps):
        rows = np.arange(32) + 32 * (step % 10)
        x, y = split.x_train[rows].astype(net[0].weight.dtype), split.y_train[rows]
        losses.append(loss(net(x), y))
        net.backward(loss.backward())
        ours.step()

        theirs.zero_grad()
        reference = torch.nn.functional.cross_entropy(
            twin(torch.from_numpy(x)), torch.from_numpy(y)
        )
        reference.backward()
        theirs.step()
        assert losses[-1] == pytest.approx(reference.item(), abs=tolerance)
        for schedule in schedules:
            schedule.step()
        rate = theirs.param_groups[0]["lr"]
        assert ours.lr == pytest.approx(rate, rel=1e-12, abs=1e-15)
    for name, parameter in twin.named_parameters():
        got = net.params[name]
        assert got.dtype == parameter.detach().numpy().dtype
        np.testing.assert_allclose(got, parameter.detach(), atol=10 * tolerance)
    return losses


@pytest.mark.parametrize(
    "optimizer, options",
    [
        (SGD, {"lr": 0.1}),
        (SGD, {"lr": 0.1, "weight_decay": 1e-2}),
        (SGD, {"lr": 0.1, "momentum": 0.9}),
        (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2}),
        (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (SGD, {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 1e-2}),
        (Adam, {"lr": 1e-2}),
        (Adam, {"lr": 1e-2, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 1e-2}),
        # Without averages a step is lr·g/(|g| + eps): an eps of 1e-8 would magnify
        # the rounding of a gradient near zero a million times.
        (Adam, {"lr": 1e-2, "betas": (0.0, 0.0), "eps": 1e-3}),
        (AdamW, {"lr": 1e-2}),
        (AdamW, {"lr": 1e-2, "betas": [0.8, 0.95], "eps": 1e-4, "weight_decay": 0.3}),
    ],
)
def test_optimizers_on_digits_equal_torch(optimizer, options):
    net, twin = network_and_twin()
    ours = optimizer(net, **options)
    theirs = TORCH[optimizer](twin.parameters(), **options)
    losses = compare_on_digits(net, ours, twin, theirs, 1e-9)
    assert losses[-1] < losses[0] / 3 and ours.steps == 100  # and it learns


@pytest.mark.parametrize("optimizer", TORCH)
def test_defaults_are_those_of_torch(optimizer):
    net, twin = network_and_twin()
    ours, theirs = optimizer(net), TORCH[optimizer](twin.parameters())
    compare_on_digits(net, ours, twin, theirs, 1e-9, steps=20)
    for name in ("lr", "weight_decay", "betas", "eps", "momentum", "nesterov"):
        if hasattr(ours, name):
            assert getattr(ours, name) == theirs.defaults[name]


@pytest.mark.parametrize("optimizer", [Adam, AdamW])
def test_arguments_stand_in_the_order_of_torch(optimizer):
    arguments = (1e-2, (0.8, 0.99), 1e-4, 0.2)
    net, twin = network_and_twin()
    ours = optimizer(net, *arguments)
    theirs = TORCH[optimizer](twin.parameters(), *arguments)
    compare_on_digits(net, ours, twin, theirs, 1e-9, steps=10)


@pytest.mark.parametrize("optimizer", TORCH)
def test_optimizers_keep_float32(optimizer):
    net, twin = network_and_twin(np.float32)
    ours = optimizer(net, lr=1e-2, weight_decay=1e-2)
    theirs = TORCH[optimizer](twin.parameters(), lr=1e-2, weight_decay=1e-2)
    compare_on_digits(net, ours, twin, theirs, 1e-4, steps=20)


SCHEDULES = {
    "step": [("StepLR", {"step_size": 7})],
    "step, mild": [("StepLR", {"step_size": 1, "gamma": 0.97})],
    "cosine": [("CosineAnnealingLR", {"T_max": 100})],
    "cosine, to 0.01 and up again": [
        ("CosineAnnealingLR", {"T_max": 30, "eta_min": 0.01})
    ],
    "warm-up": [("LinearLR", {})],
    "down": [("LinearLR", {"start_factor": 0.9, "end_factor": 0, "total_iters": 40})],
    "warm-up, cosine": [
        ("LinearLR", {"start_factor": 0.1, "total_iters": 10}),
        ("CosineAnnealingLR", {"T_max": 90}),
        [10],
    ],
    "warm-up cut short, constant, steps": [
        ("LinearLR", {"start_factor": 0.2, "total_iters": 20}),
        ("LinearLR", {"start_factor": 0.5, "end_factor": 0.5}),
        ("StepLR", {"step_size": 10, "gamma": 0.5}),
        [9, 33],
    ],
}


def make_schedule(optimizer, parts, where):
    """The schedule of SCHEDULES, with the classes of the given namespace."""
    made = [
        getattr(where, name)(optimizer, **options)
        for name, options in (part for part in parts if isinstance(part, tuple))
    ]
    if len(made) == 1:
        return made[0]
    return where.SequentialLR(optimizer, made, milestones=parts[-1])


@pytest.mark.parametrize("parts", SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_equal_torch(parts):
    import dropnorm.optim

    net, twin = network_and_twin()
    ours = SGD(net, lr=0.1, momentum=0.5)
    theirs = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.5)
    schedules = (
        make_schedule(ours, parts, dropnorm.optim),
        make_schedule(theirs, parts, torch.optim.lr_scheduler),
    )
    assert ours.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-15)
    compare_on_digits(net, ours, twin, theirs, 1e-9, schedules)


def test_schedules_also_drive_adamw():
    net, twin = network_and_twin()
    ours, theirs = AdamW(net, 0.01), torch.optim.AdamW(twin.parameters(), 0.01)
    schedules = (
        StepLR(ours, 3, 0.5),
        torch.optim.lr_scheduler.StepLR(theirs, 3, 0.5),
    )
    compare_on_digits(net, ours, twin, theirs, 1e-9, schedules, steps=20)


def test_a_schedule_starts_from_the_rate_set_last():
    optimizer = SGD(Linear(2, 1), lr=1.0)
    optimizer.lr = 0.5
    schedule = LinearLR(optimizer, 0.1, total_iters=2)
    rates = [optimizer.lr]
    for _ in range(3):
        schedule.step()
        rates.append(optimizer.lr)
    assert rates == pytest.approx([0.05, 0.275, 0.5, 0.5])
    assert schedule.last_epoch == 3


def one_parameter():
    return Linear(2, 1, rng=np.random.default_rng(0))


BAD = [
    (lambda: SGD(one_parameter(), lr=-1), ValueError,
     "lr must be finite and at least 0, got -1"),
    (lambda: SGD(one_parameter(), lr=float("nan")), ValueError, "got nan"),
    (lambda: SGD(one_parameter(), momentum="much"), TypeError,
     "momentum must be a number, got 'much'"),
    (lambda: SGD(one_parameter(), momentum=-0.5), ValueError, "momentum .* got -0.5"),
    (lambda: SGD(one_parameter(), weight_decay=float("inf")), ValueError,
     "weight_decay .* got inf"),
    (lambda: SGD(one_parameter(), nesterov=True), ValueError,
     "nesterov needs a momentum above 0, got 0.0"),
    (lambda: SGD(one_parameter(), 0.1, 0.9, 0.1), TypeError, "positional"),
    (lambda: Adam(one_parameter(), lr=None), TypeError, "lr must be a number"),
    (lambda: Adam(one_parameter(), betas=0.9), TypeError,
     "betas must be a pair of numbers, got 0.9"),
    (lambda: Adam(one_parameter(), betas=(0.9,)), TypeError, r"got \(0.9,\)"),
    (lambda: Adam(one_parameter(), betas=(0.9, 1)), ValueError,
     r"betas\[1\] must be below 1, got 1"),
    (lambda: AdamW(one_parameter(), betas=(-0.1, 0.9)), ValueError,
     r"betas\[0\] must be finite and at least 0, got -0.1"),
    (lambda: Adam(one_parameter(), eps=-1e-8), ValueError, "eps .* got -1e-08"),
    (lambda: AdamW(one_parameter(), weight_decay=-1), ValueError,
     "weight_decay .* got -1"),
    (lambda: StepLR("sgd", 3), TypeError, "optimizer must be one of ours, got 'sgd'"),
    (lambda: StepLR(SGD(one_parameter()), 0), ValueError,
     "step_size must be at least 1, got 0"),
    (lambda: StepLR(SGD(one_parameter()), 3, -1), ValueError, "gamma .* got -1"),
    (lambda: CosineAnnealingLR(SGD(one_parameter()), 2.5), TypeError,
     "T_max must be an integer, got 2.5"),
    (lambda: CosineAnnealingLR(SGD(one_parameter()), 5, -0.1), ValueError,
     "eta_min .* got -0.1"),
    (lambda: LinearLR(SGD(one_parameter()), 0), ValueError,
     "start_factor must be above 0 and at most 1, got 0"),
    (lambda: LinearLR(SGD(one_parameter()), 1.1), ValueError, "start_factor .* 1.1"),
    (lambda: LinearLR(SGD(one_parameter()), end_factor=1.5), ValueError,
     "end_factor must lie between 0 and 1, got 1.5"),
    (lambda: LinearLR(SGD(one_parameter()), end_factor="1"), TypeError,
     "end_factor must be a number, got '1'"),
    (lambda: LinearLR(SGD(one_parameter()), total_iters=0), ValueError,
     "total_iters must be at least 1, got 0"),
    (lambda: Optimizer._update(None, "weight", None, None), NotImplementedError,
     "NoneType defines no _update"),
    (lambda: Schedule(SGD(one_parameter())), NotImplementedError,
     "Schedule defines no lr_at"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_options_are_named(action, error, message):
    with pytest.raises(error, match=message):
        action()


@pytest.mark.parametrize("milestones", [[], [3, 5], [0], [5, 3, 8]])
def test_bad_milestones_are_named(milestones):
    optimizer = SGD(one_parameter())
    parts = [LinearLR(optimizer), StepLR(optimizer, 3)]
    if len(milestones) == 3:
        parts *= 2
    with pytest.raises(ValueError, match=r"milestones must be increasing.* got \["):
        SequentialLR(optimizer, parts, milestones)


def test_schedules_of_different_optimizers_are_refused():
    first, second = SGD(one_parameter()), SGD(one_parameter())
    parts = [LinearLR(first), StepLR(second, 3)]
    with pytest.raises(ValueError, match="schedulers must all have the optimizer"):
        SequentialLR(first, parts, [3])


@pytest.mark.parametrize("optimizer", TORCH)
def test_step_before_backward_is_named_and_changes_nothing(optimizer):
    net = Sequential(one_parameter(), Linear(1, 1))
    before = copy.deepcopy(net.params)
    net.grads = {"0.weight": np.ones((1, 2))}
    step = optimizer(net, lr=0.1).step
    with pytest.raises(ValueError, match="0.bias has no gradient: call backward"):
        step()
    for name, weight in net.params.items():
        np.testing.assert_array_equal(weight, before[name])
