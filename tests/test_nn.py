"""The PyTorch modules against closed forms, PyTorch's own, and exact statistics."""

import copy
import math
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

import dropnorm.nn as dn

P = 0.3
double = torch.float64


def normal(*shape, seed=0, dtype=double):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype)


def assert_close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def assert_binomial(successes, trials, q, alpha=1e-9):
    """Chernoff's bound: n KL(K/n ‖ q) ≤ ln(2/α), whatever the seed."""
    rate = float(successes) / trials
    divergence = sum(
        a * np.log(a / b) for a, b in [(rate, q), (1 - rate, 1 - q)] if a > 0
    )
    assert trials * divergence <= np.log(2 / alpha), f"rate {rate:.4f}, expected {q}"


def assert_independent(kept, other, q):
    """Two events of probability q each coincide as independent ones do."""
    assert_binomial((kept & other).sum(), kept.numel(), q * q)
    assert_binomial((~kept & ~other).sum(), kept.numel(), (1 - q) ** 2)


def randomize(module, seed=0):
    """Parameters and running statistics that no test could pass with by accident."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5, generator=generator)
    return module


def output(layer, x):
    y = layer(x)
    return y[0] if isinstance(y, tuple) else y


def train_like(module, reference, x, part=None):
    """Output, all gradients and buffers of two modules agree after a training step.

    The reference gets parts of `part` examples one after another, if that is given.
    """
    results = []
    for net in (module, reference):
        net.zero_grad()
        x_own = x.detach().clone().requires_grad_()
        if part and net is reference:
            starts = range(0, len(x), part)
            y = torch.cat([net(x_own[i : i + part]) for i in starts])
        else:
            y = output(net, x_own)
        y.backward(normal(*y.shape, seed=1, dtype=x.dtype))
        grads = {name: p.grad for name, p in net.named_parameters()}
        results.append((y.detach(), x_own.grad, grads, dict(net.named_buffers())))
    for own, expected in zip(*results, strict=True):
        assert_close(own, expected)


# Random layers: what all of them share -----------------------------------------------

RANDOM = {
    "OriginalDropout": (lambda p: dn.OriginalDropout(p), (5, 8)),
    "GaussianDropout": (lambda p: dn.GaussianDropout(p), (5, 8)),
    "DropConnectLinear": (lambda p: dn.DropConnectLinear(8, 4, p=p), (5, 8)),
    "DropBlock2d": (lambda p: dn.DropBlock2d(p, 3), (2, 2, 5, 4)),
    "StochasticDepth": (lambda p: dn.StochasticDepth(p), (40, 3)),
    "StochasticDepth batch": (lambda p: dn.StochasticDepth(p, "batch"), (4, 3)),
    "VariationalDropout": (lambda p: dn.VariationalDropout(p), (5, 4, 8)),
    "VariationalGRU": (lambda p: dn.VariationalGRU(4, 3, p=p), (3, 3, 4)),
    "VariationalLSTM": (lambda p: dn.VariationalLSTM(4, 3, p=p), (3, 3, 4)),
}
random_layers = pytest.mark.parametrize("make, shape", RANDOM.values(), ids=RANDOM)


@random_layers
def test_a_seed_repeats_the_draws_in_training_and_calls_differ(make, shape):
    layer, x = make(P).double(), normal(*shape)
    torch.manual_seed(0)
    many = [output(layer, x) for _ in range(40)]
    torch.manual_seed(0)
    assert_equal(output(layer, x), many[0])
    assert len({tuple(y.flatten().tolist()) for y in many}) > 1


@random_layers
def test_evaluation_and_p_zero_draw_nothing(make, shape):
    layer, x = make(P).double(), normal(*shape)
    without = make(0.0).double()
    without.load_state_dict(layer.state_dict())
    state = torch.get_rng_state()
    y = output(layer.eval(), x)
    assert_equal(output(layer, x), y)
    # OriginalDropout multiplies by 1 − p in evaluation; the others do nothing to x
    scale = 1 - P if isinstance(layer, dn.OriginalDropout) else 1
    assert_close(output(without, x) * scale, y)
    assert_equal(torch.get_rng_state(), state)


@random_layers
def test_sample_takes_a_generator_and_forward_draws_the_same(make, shape):
    layer, x = make(P).double(), normal(*shape)
    state = torch.get_rng_state()
    first = layer.sample(x, torch.Generator().manual_seed(5))
    again = layer.sample(x, generator=torch.Generator().manual_seed(5))
    assert_equal(torch.get_rng_state(), state)
    assert_equal(first, again)
    torch.manual_seed(5)
    assert_equal(layer.sample(x), first)
    if type(layer).forward is dn.GaussianDropout.forward:  # y = m ⊙ x
        torch.manual_seed(5)
        assert_equal(layer(x), x * first)


@random_layers
def test_random_layers_survive_copy_pickle_and_state_dict(make, shape):
    layer, x = make(P).double(), normal(*shape)
    loaded = make(P).double()
    loaded.load_state_dict(layer.state_dict())
    twins = [loaded, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    torch.manual_seed(1)
    expected = output(layer, x)
    for twin in twins:
        torch.manual_seed(1)
        assert_equal(output(twin, x), expected)
        assert repr(twin) == repr(layer) and f"p={P}" in repr(layer)


@random_layers
@pytest.mark.parametrize("dtype", [torch.float32, double])
def test_the_backward_pass_uses_the_mask_of_the_forward_pass(make, shape, dtype):
    layer = make(P).to(dtype)
    x = normal(*shape, dtype=dtype).requires_grad_()
    assert output(layer, x).dtype == dtype
    if dtype is double:

        def seeded(x, *parameters):
            torch.manual_seed(2)
            return output(layer, x)

        assert torch.autograd.gradcheck(seeded, (x, *layer.parameters()))


# layer, shape of the input, shape of the mask
MASKS = {
    "OriginalDropout": (dn.OriginalDropout(P), (300, 100), (300, 100)),
    "DropConnectLinear": (dn.DropConnectLinear(9, 10, p=P), (300, 9), (300, 10, 10)),
    "no bias": (dn.DropConnectLinear(9, 10, False, P), (300, 9), (300, 10, 9)),
    "StochasticDepth": (dn.StochasticDepth(P), (20000, 2), (20000, 1)),
    "VariationalDropout": (dn.VariationalDropout(P), (300, 2, 90), (300, 1, 90)),
    "VariationalGRU": (dn.VariationalGRU(2, 90, p=P), (300, 3, 2), (300, 90)),
    "VariationalLSTM": (dn.VariationalLSTM(2, 90, p=P), (300, 3, 2), (300, 90)),
}


@pytest.mark.parametrize("layer, shape, mask_shape", MASKS.values(), ids=MASKS)
def test_masks_are_independent_with_the_right_rate_and_scale(layer, shape, mask_shape):
    x, q = torch.ones(shape, dtype=double), 1 - P
    mask, other = layer.sample(x), layer.sample(x)
    assert mask.shape == mask_shape
    scaled = 1.0 if isinstance(layer, dn.OriginalDropout) else 1 / q
    assert ((mask == 0) | (mask == scaled)).all()
    kept = mask != 0
    assert_binomial(kept.sum(), kept.numel(), q)
    assert_independent(kept, other != 0, q)  # two calls
    for axis, length in enumerate(mask.shape):
        if length > 1:  # neighbors: examples, outputs, inputs, features
            pairs = kept.narrow(axis, 0, length // 2 * 2).unflatten(axis, (-1, 2))
            assert_independent(*pairs.unbind(axis + 1), q)


# Original and Gaussian dropout -------------------------------------------------------


def test_original_dropout_is_a_constant_times_todays():
    x = normal(20, 30)
    layer, today = dn.OriginalDropout(P), nn.Dropout(P)
    torch.manual_seed(0)
    y = layer(x)
    torch.manual_seed(0)
    assert_close(y, 0.7 * today(x))
    assert_close(layer.eval()(x), 0.7 * today.eval()(x))


def test_original_dropout_in_evaluation_scales_the_weights_behind_it():
    x, linear = normal(20, 30), nn.Linear(30, 4).double()
    y = nn.Sequential(dn.OriginalDropout(P), linear).eval()(x)
    assert_close(y, F.linear(x, 0.7 * linear.weight, linear.bias))


@pytest.mark.parametrize("p, training", [(0.0, 2.0), (1.0, 0.0)])
def test_original_dropout_at_its_ends(p, training):
    x = torch.full((4, 3), 2.0)
    assert_equal(dn.OriginalDropout(p)(x), torch.full_like(x, training))
    assert_equal(dn.OriginalDropout(p).eval()(x), torch.full_like(x, training))


@pytest.mark.parametrize("p", [0.2, 0.6])
def test_gaussian_dropout_draws_from_the_normal_distribution_it_says(p):
    n = 40_000
    std = math.sqrt(p / (1 - p))
    layer = dn.GaussianDropout(p)
    z = (layer(torch.full((200, 200), 2.0, dtype=double)) / 2 - 1) / std
    other = (layer(torch.ones(200, 200, dtype=double)) - 1) / std
    # For z ~ N(0, 1): P(|mean| > 6.2/√n) < 1e-9 exactly, and the sum of squares is
    # chi-squared: |Σz²/n − 1| ≤ 2√(t/n) + 2t/n but for 2 exp(−t) (Laurent, Massart).
    t = math.log(2e9)
    bound = 2 * math.sqrt(t / n) + 2 * t / n
    assert abs(z.mean()) < 6.2 / math.sqrt(n)
    assert abs(z.square().mean() - 1) < bound
    # The signs are coins, and the share below one deviation is Φ(1): a normal shape.
    assert_binomial((z < 0).sum(), n, 0.5)
    assert_binomial((z.abs() < 1).sum(), n, math.erf(1 / math.sqrt(2)))
    for a, b in [(z, other), (z[::2], z[1::2]), (z[:, ::2], z[:, 1::2])]:
        assert_independent(a > 0, b > 0, 0.5)


def test_gaussian_dropout_has_the_moments_of_inverted_dropout():
    # 0 with probability p, else 1/(1 − p)
    p, kept = 0.3, 1 / 0.7
    assert p * (0 - 1) ** 2 + (1 - p) * (kept - 1) ** 2 == pytest.approx(p / (1 - p))


# DropConnect -------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (5,)])
def test_dropconnect_masks_weights_and_bias_of_each_example(shape, bias):
    layer, x = dn.DropConnectLinear(5, 4, bias, p=P).double(), normal(*shape)
    torch.manual_seed(0)
    y = layer(x)
    torch.manual_seed(0)
    masks = layer.sample(x).reshape(-1, 4, 5 + bias)
    rows = []
    for row, mask in zip(x.reshape(-1, 5), masks, strict=True):
        expected = (mask[:, :5] * layer.weight) @ row
        rows.append(expected + mask[:, 5] * layer.bias if bias else expected)
    assert_close(y, torch.stack(rows).reshape(*shape[:-1], 4))


def test_dropconnect_in_evaluation_is_linear_and_the_mean_over_masks():
    layer, x = dn.DropConnectLinear(3, 2, p=P).double(), normal(3)
    linear = nn.Linear(3, 2).double()
    linear.load_state_dict(layer.state_dict())
    assert_equal(layer.eval()(x), linear(x))
    # The mean over all 2^8 masks, each with its probability
    mean = 0
    weight = torch.cat([layer.weight, layer.bias.unsqueeze(1)], dim=1)
    for bits in range(2**8):
        kept = torch.tensor([bits >> i & 1 for i in range(8)], dtype=double)
        probability = 0.7 ** kept.sum() * 0.3 ** (8 - kept.sum())
        masked = kept.reshape(2, 4) / 0.7 * weight
        mean = mean + probability * (masked @ torch.cat([x, torch.ones(1)]))
    assert_close(mean, linear(x))


def test_dropconnect_that_drops_all_gives_zeros():
    assert_equal(dn.DropConnectLinear(3, 2, p=1)(torch.ones(4, 3)), torch.zeros(4, 2))


# DropBlock ---------------------------------------------------------------------------


def places_over(length, b):
    """How many of the places of a block along one axis cover each unit."""
    starts = range(length - b + 1)
    return np.array([sum(s <= i < s + b for s in starts) for i in range(length)])


@pytest.mark.parametrize(
    "p, b, size",
    [(0.2, 3, (8, 8)), (0.3, 2, (5, 6)), (0.1, 4, (4, 7)), (0.3, 1, (3, 4))],
)
def test_dropblock_drops_each_unit_with_the_probability_it_says(p, b, size):
    layer, (height, width) = dn.DropBlock2d(p, b), size
    gamma = layer.gamma(height, width)
    assert gamma == pytest.approx(
        p / b**2 * (height * width) / ((height - b + 1) * (width - b + 1))
    )
    dropped = layer.sample(torch.ones(3000, 2, height, width)) == 0
    over = np.outer(places_over(height, b), places_over(width, b))
    assert gamma * over.mean() == pytest.approx(p)  # the mean number over a unit
    rates = 1 - (1 - gamma) ** over
    for i in range(height):
        for j in range(width):
            assert_binomial(dropped[:, :, i, j].sum(), 6000, rates[i, j])
    assert rates.mean() == pytest.approx(p) if b == 1 else rates.mean() < p
    if (p, b) == (0.2, 3):
        assert round(rates.mean(), 2) == 0.18  # as the docstring says
    # maps and examples are independent
    corner = dropped[:, :, 0, 0]
    q = rates[0, 0]
    assert_independent(corner[:, 0], corner[:, 1], q)
    assert_independent(corner[::2], corner[1::2], q)


def test_dropblock_drops_whole_blocks_where_they_fit():
    b = 3
    for _ in range(20):
        dropped = dn.DropBlock2d(0.15, b).sample(torch.ones(4, 3, 9, 7)) == 0
        # A block lies at a place if all its units are dropped; blocks explain all.
        whole = -F.max_pool2d(-dropped.double(), b, stride=1)
        union = torch.zeros(4, 3, 9, 7, dtype=double)
        for i in range(b):
            for j in range(b):
                union[:, :, i : i + 7, j : j + 5] += whole
        assert_equal(union > 0, dropped)
        assert 0 < dropped.double().mean() < 1


def test_dropblock_scales_by_the_number_kept():
    torch.manual_seed(0)
    mask = dn.DropBlock2d(P, 2)(torch.ones(3, 4, 6, 6, dtype=double))
    kept = int((mask != 0).sum())
    assert 0 < kept < mask.numel()
    assert_close(
        mask[mask != 0], torch.full((kept,), mask.numel() / kept, dtype=double)
    )


@pytest.mark.parametrize("block_size", [1, 3, 31])
def test_dropblock_with_p_one_stays_finite(block_size):
    # γ = 1 for blocks of one unit and of the whole map; p/b² · b² is above 1 for b = 31
    y = dn.DropBlock2d(1.0, block_size)(torch.ones(2, 2, 31, 31))
    assert torch.isfinite(y).all()
    assert block_size == 3 or not y.any()


def test_dropblock_of_one_block_is_all_or_nothing():
    mask = dn.DropBlock2d(P, 4).sample(torch.ones(5000, 1, 4, 4))
    dropped = mask == 0
    assert_equal(dropped.all((2, 3)), dropped.any((2, 3)))
    assert_binomial(dropped[:, 0, 0, 0].sum(), 5000, P)
    assert_equal(dn.DropBlock2d(1, 4)(torch.ones(2, 1, 4, 4)), torch.zeros(2, 1, 4, 4))


# Stochastic depth --------------------------------------------------------------------


def test_stochastic_depth_drops_rows_or_the_batch():
    x = normal(2000, 2, 3) + 10
    y = dn.StochasticDepth(P)(x)
    kept = (y != 0).all((1, 2))
    assert_equal(kept, (y != 0).any(2).any(1))
    assert_close(y[kept], x[kept] / 0.7)
    layer = dn.StochasticDepth(P, mode="batch")
    kept = []
    for _ in range(2000):
        y = layer(x[:2])
        kept.append(bool(y.any()))
        assert_close(y, x[:2] / 0.7 if kept[-1] else torch.zeros_like(y))
    assert_binomial(sum(kept), 2000, 0.7)


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_stochastic_depth_that_drops_all_gives_zeros(mode):
    assert_equal(dn.StochasticDepth(1.0, mode)(torch.ones(4, 3)), torch.zeros(4, 3))


# Recurrent layers --------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [True, False])
def test_variational_dropout_keeps_one_mask_over_time(batch_first):
    x = torch.ones(6, 7, 500, dtype=double)
    y = dn.VariationalDropout(P, batch_first)(x)
    y = y if batch_first else y.transpose(0, 1)
    assert_equal(y, y[:, :1].expand_as(y))
    first = y[:, 0] != 0
    assert_close(y[:, 0][first], torch.full((first.sum(),), 1 / 0.7, dtype=double))
    assert (first[0] != first[1]).any()


RECURRENT = [(dn.VariationalGRU, nn.GRU), (dn.VariationalLSTM, nn.LSTM)]


class Ones:
    """Stands in for `sample`: a mask that keeps all, so that the loop itself runs."""

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, x, generator=None):
        n = x.shape[0 if self.layer.batch_first else 1]
        return x.new_ones(n, self.layer.hidden_size)


@pytest.mark.parametrize("variational, plain", RECURRENT)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrence_without_drops_is_torchs(variational, plain, bias, batch_first):
    layer = variational(4, 3, bias, batch_first, p=P).double()
    reference = plain(4, 3, bias=bias, batch_first=batch_first).double()
    reference.load_state_dict(layer.state_dict())
    x = normal(5, 6, 4)
    n = 5 if batch_first else 6
    hx = normal(1, n, 3, seed=3)
    hx = (hx, normal(1, n, 3, seed=4)) if plain is nn.LSTM else hx
    assert_close(layer.eval()(x, hx), reference(x, hx))
    assert_close(layer(x), reference(x))
    layer.train()
    layer.sample = Ones(layer)
    assert_close(layer(x, hx), reference(x, hx))
    train_like(layer, reference, x)


@pytest.mark.parametrize("variational, plain", RECURRENT)
def test_recurrence_masks_the_state_where_it_meets_the_weights(variational, plain):
    """The same drops, made by scaling the recurrent weights of each sequence."""
    layer = variational(4, 3, p=P).double()
    x, hx = normal(5, 6, 4), normal(1, 5, 3, seed=3)
    c = normal(1, 5, 3, seed=4)
    torch.manual_seed(0)
    y, last = layer(x, (hx, c) if plain is nn.LSTM else hx)
    torch.manual_seed(0)
    masks = layer.sample(x)
    assert (masks == 0).any() and (masks != 0).any()
    for n, mask in enumerate(masks):
        reference = plain(4, 3, batch_first=True).double()
        reference.load_state_dict(layer.state_dict())
        with torch.no_grad():
            reference.weight_hh_l0 *= mask  # U (m ⊙ h) = (U diag m) h
        start = (hx[:, n : n + 1], c[:, n : n + 1])
        own_y, own_last = reference(
            x[n : n + 1], start if plain is nn.LSTM else start[0]
        )
        assert_close(y[n : n + 1], own_y)
        if plain is nn.LSTM:
            assert_close(tuple(s[:, n : n + 1] for s in last), own_last)
        else:
            assert_close(last[:, n : n + 1], own_last)


# Monte-Carlo dropout -----------------------------------------------------------------


def network():
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(),
        nn.Sequential(dn.DropConnectLinear(8, 8), dn.GaussianDropout(0.2)),
        nn.AlphaDropout(0.1), nn.Linear(8, 2),
    ).double()  # fmt: skip


def test_monte_carlo_dropout_turns_on_dropout_alone():
    model = randomize(network())
    model.train()
    model[1].eval()
    model[4].eval()
    modes = [m.training for m in model.modules()]
    before = copy.deepcopy(model.state_dict())
    x = normal(5, 6)
    with monte_carlo(model) as inside:
        assert inside is model
        on = [type(m) for m in model.modules() if m.training]
        assert on == [
            nn.Dropout, dn.DropConnectLinear, dn.GaussianDropout, nn.AlphaDropout
        ]  # fmt: skip
        assert (model(x) != model(x)).any()
    assert [m.training for m in model.modules()] == modes
    assert_equal(model.state_dict(), before)  # no running statistics moved
    with pytest.raises(KeyError), monte_carlo(model):
        raise KeyError
    assert [m.training for m in model.modules()] == modes


monte_carlo = dn.monte_carlo_dropout


def test_monte_carlo_mean_of_a_linear_model_is_its_evaluation():
    # y = Σ_i m_i w_i x_i with |m_i w_i x_i| ≤ 2: Hoeffding for the mean of T·10 terms
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(10, 1, bias=False)).double()
    nn.init.ones_(model[1].weight)
    x = torch.ones(20_000, 10, dtype=double)
    with monte_carlo(model), torch.no_grad():
        mean = model(x).mean() / 10
    bound = 2 * math.sqrt(math.log(2e9) / (2 * x.numel()))
    assert abs(mean - 1) < bound


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.GRU(4, 4, num_layers=2, dropout=0.5, batch_first=True),
        lambda: dn.VariationalLSTM(4, 4),
        lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True),
    ],
)
def test_monte_carlo_dropout_reaches_dropout_inside_layers(make):
    layer, x = make().eval(), torch.randn(3, 5, 4)
    with torch.no_grad():
        assert_equal(output(layer, x), output(layer, x))
        with monte_carlo(layer):
            assert (output(layer, x) != output(layer, x)).any()
            dropouts = (type(layer), nn.Dropout, nn.MultiheadAttention)
            others = [m for m in layer.modules() if not isinstance(m, dropouts)]
            assert not any(m.training for m in others)
        assert_equal(output(layer, x), output(layer, x))


def test_monte_carlo_dropout_reaches_attention():
    layer, x = nn.MultiheadAttention(4, 2, dropout=0.5).eval(), torch.randn(3, 5, 4)
    with torch.no_grad(), monte_carlo(layer):
        assert (layer(x, x, x)[0] != layer(x, x, x)[0]).any()


# Ghost batch norm --------------------------------------------------------------------

GHOST = [
    (dn.GhostBatchNorm1d, nn.BatchNorm1d, (8, 3)),
    (dn.GhostBatchNorm1d, nn.BatchNorm1d, (8, 3, 4)),
    (dn.GhostBatchNorm2d, nn.BatchNorm2d, (8, 3, 2, 4)),
]


@pytest.mark.parametrize("ghost, plain, shape", GHOST)
@pytest.mark.parametrize("size", [2, 3, 4, 8, 100])  # 3 leaves a ghost batch of 2
@pytest.mark.parametrize("momentum", [0.1, None])
def test_ghost_batch_norm_is_batch_norm_of_each_part(
    ghost, plain, shape, size, momentum
):
    layer = randomize(ghost(3, size, momentum=momentum).double())
    reference = plain(3, momentum=momentum).double()
    reference.load_state_dict(layer.state_dict())
    for seed in range(2):
        train_like(layer, reference, normal(*shape, seed=seed) * 3 + 1e4, size)
    assert layer.num_batches_tracked == 2 * math.ceil(8 / size)
    x = normal(*shape, seed=9)
    assert_close(layer.eval()(x), reference.eval()(x))
    assert_close(layer(x[:1]), reference(x[:1]))


def test_ghost_batch_norm_without_statistics_or_parameters():
    layer = dn.GhostBatchNorm1d(3, 4, affine=False, track_running_stats=False)
    x = normal(8, 3, dtype=torch.float32)
    expected = torch.cat(
        [F.batch_norm(p, None, None, training=True) for p in x.split(4)]
    )
    assert_close(layer(x), expected)
    assert_close(layer.eval()(x), F.batch_norm(x, None, None, training=True))
    assert not list(layer.parameters()) and not layer.state_dict()


# Batch renormalization ---------------------------------------------------------------

RENORM = [
    (dn.BatchRenorm1d, nn.BatchNorm1d, (8, 3)),
    (dn.BatchRenorm1d, nn.BatchNorm1d, (8, 3, 4)),
    (dn.BatchRenorm2d, nn.BatchNorm2d, (8, 3, 2, 4)),
]


@pytest.mark.parametrize("renorm, plain, shape", RENORM)
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
def test_renorm_that_corrects_nothing_is_batch_norm(
    renorm, plain, shape, momentum, affine
):
    layer = renorm(3, 1e-3, momentum, affine, rmax=1, dmax=0).double()
    randomize(layer)
    reference = plain(3, 1e-3, momentum, affine).double()
    reference.load_state_dict(layer.state_dict())
    for seed in range(3):
        train_like(layer, reference, normal(*shape, seed=seed) * 3 + 5)
    x = normal(*shape, seed=9)
    assert_close(layer.eval()(x), reference.eval()(x))


@pytest.mark.parametrize("renorm, plain, shape", RENORM)
def test_renorm_that_clips_nothing_trains_with_running_statistics(renorm, plain, shape):
    layer = randomize(renorm(3, rmax=math.inf, dmax=math.inf).double())
    reference = plain(3).double().eval()
    reference.load_state_dict(layer.state_dict())
    x = normal(*shape) * 3 + 5
    assert_close(layer(x), reference(x))


@pytest.mark.parametrize("affine", [True, False])
def test_renorm_by_its_formula_clipped_on_either_side(affine):
    layer = dn.BatchRenorm1d(4, affine=affine, rmax=2, dmax=0.5).double()
    randomize(layer)
    # σ_B/σ: above 2, below 1/2, between; (μ_B − μ)/σ: above, below, between ±0.5
    x = normal(50, 4) * torch.tensor([9, 0.1, 1, 1]) + torch.tensor([9, -9, 1.1, 1])
    mean, var = layer.running_mean.clone(), layer.running_var.clone()
    sigma, sigma_batch = (var + 1e-5).sqrt(), (x.var(0, correction=0) + 1e-5).sqrt()
    ratio, shift = sigma_batch / sigma, (x.mean(0) - mean) / sigma
    assert (ratio > 2).tolist() == [True, False, False, False]
    assert (ratio < 0.5).tolist() == [False, True, False, False]
    assert shift[0] > 0.5 and shift[1] < -0.5 and shift[2].abs() < 0.5
    r = torch.stack([torch.tensor(2.0), torch.tensor(0.5), ratio[2], ratio[3]])
    d = torch.stack(
        [torch.tensor(0.5), torch.tensor(-0.5), *shift[2:].clamp(-0.5, 0.5)]
    )
    x_own = x.clone().requires_grad_()
    y = layer(x_own)
    normalized = (x - x.mean(0)) / sigma_batch
    gamma, beta = (layer.weight, layer.bias) if affine else (1, 0)
    assert_close(y, gamma * (normalized * r + d) + beta)
    # The gradient is that of γ r x̂ with r a constant, in x, and of γ (x̂ r + d) + β
    # in γ and β.
    dy = normal(50, 4, seed=1)
    y.backward(dy)
    x_plain = x.clone().requires_grad_()
    F.batch_norm(x_plain, None, None, training=True).backward(dy * gamma * r)
    assert_close(x_own.grad, x_plain.grad)
    if affine:
        assert_close(layer.weight.grad, (dy * (normalized * r + d)).sum(0))
        assert_close(layer.bias.grad, dy.sum(0))
    assert_close(layer.running_mean, 0.9 * mean + 0.1 * x.mean(0))
    assert_close(layer.running_var, 0.9 * var + 0.1 * x.var(0))


def test_the_bounds_of_renorm_may_change_in_training():
    layer, x = dn.BatchRenorm1d(3, rmax=1, dmax=0).double(), normal(8, 3) * 2 + 1
    strict = layer(x)
    layer.rmax, layer.dmax = 3, 5
    assert (layer(x) != strict).all()


# Batch norm over processes -----------------------------------------------------------


def shards(*shapes, seed=0, offset=1e3):
    """(x, dy) for each process."""
    return [
        (
            normal(*s, seed=seed + i) * (i + 1) + offset * i,
            normal(*s, seed=seed + 50 + i),
        )
        for i, s in enumerate(shapes)
    ]


SYNC = {
    "equal shards": ({}, [shards((4, 3), (4, 3)), shards((4, 3), (4, 3), seed=7)]),
    "unequal shards": ({}, [shards((5, 3), (2, 3)), shards((1, 3), (6, 3), seed=7)]),
    "one example each": ({}, [shards((1, 3), (1, 3))]),
    "an empty shard": ({}, [shards((5, 3), (0, 3))]),
    "large mean": ({}, [[(x + 1e4, d) for x, d in shards((5, 3), (3, 3), offset=0)]]),
    "sequences": ({"momentum": None}, [shards((2, 3, 5), (4, 3, 5))] * 2),
    "images": ({"momentum": 0.3, "eps": 1e-2}, [shards((2, 3, 4, 5), (3, 3, 4, 5))]),
    "no parameters": ({"affine": False}, [shards((3, 3), (5, 3))]),
    "no statistics": ({"track_running_stats": False}, [shards((3, 3), (5, 3))]),
}
NAN = torch.tensor([[1.0, math.nan, 1.0]], dtype=double)
BAD_SHARDS = [
    [normal(1, 3), normal(0, 3)],  # together one example
    [normal(0, 3), normal(0, 3)],
    [normal(4, 3), torch.cat([normal(4, 3), NAN])],  # seen by both
]


@pytest.fixture(scope="module")
def synchronized(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # so that the processes, too, find the module that holds their function
        patch.syspath_prepend(str(Path(__file__).parent))
        import process_group

        return process_group.run(
            process_group.both,
            (list(SYNC.values()), BAD_SHARDS),
            2,
            tmp_path_factory.mktemp("group"),
        )


@pytest.mark.parametrize("name", SYNC)
def test_sync_batch_norm_is_batch_norm_of_the_whole_batch(synchronized, name):
    options, steps = SYNC[name]
    results = [rank[0][list(SYNC).index(name)] for rank in synchronized]
    dims = steps[0][0][0].dim()
    plain = nn.BatchNorm2d if dims == 4 else nn.BatchNorm1d
    reference = plain(3, **options).double()
    if reference.affine:
        with torch.no_grad():
            reference.weight.copy_(torch.tensor([0.5, 2.0, -1.0]))
            reference.bias.copy_(torch.tensor([1.0, 0.0, 3.0]))
    # At a mean of 1e4 an input is known to 1e-12 only, and so are the outputs.
    tolerance = 1e-11 if name == "large mean" else 1e-12
    for step, parts in enumerate(steps):
        x = torch.cat([x for x, _ in parts]).requires_grad_()
        y = reference(x)
        y.backward(torch.cat([dy for _, dy in parts]))
        for key, expected in (("y", y.detach()), ("dx", x.grad)):
            together = torch.cat([result[key][step] for result in results])
            assert_close(together, expected, tolerance)
    for name_, parameter in reference.named_parameters():
        total = sum(result["grads"][name_] for result in results)
        assert_close(total, parameter.grad, tolerance)
    for result in results:
        assert_close(result["state"], reference.state_dict())
    for result in results:
        assert_close(result["eval"], reference.eval()(steps[-1][0][0]).detach())


def test_sync_batch_norm_raises_in_all_processes_and_changes_nothing(synchronized):
    for _, (messages, state) in synchronized:
        assert messages == [
            "in training x must have more than 1 value per channel, got 1",
            "in training x must have more than 1 value per channel, got 0",
            "x must have a finite mean and variance in each channel, "
            "not so in channels [1]",
        ]
        assert_equal(state, dn.SyncBatchNorm(3).double().state_dict())


def test_sync_batch_norm_leaves_no_process(synchronized):
    # joblib keeps idle workers, which tests of replicates may have started
    left = [process.name for process in multiprocessing.active_children()]
    assert [name for name in left if not name.startswith("Loky")] == []


@pytest.fixture
def group_of_one(tmp_path):
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


def test_sync_batch_norm_by_finite_differences(group_of_one, monkeypatch):
    layer = randomize(dn.SyncBatchNorm(3, momentum=0.0).double())
    reference = nn.BatchNorm1d(3, momentum=0.0).double()
    reference.load_state_dict(layer.state_dict())
    x = normal(4, 3, 2).requires_grad_()
    assert_close(layer(x), reference(x))  # in a group of one it does not communicate
    monkeypatch.setattr(layer, "_processes", lambda: 2)  # now it does, with itself
    train_like(layer, reference, x)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))
    assert torch.autograd.gradgradcheck(layer, x)
    bare = dn.SyncBatchNorm(3, affine=False, track_running_stats=False)
    monkeypatch.setattr(bare, "_processes", lambda: 2)
    train_like(bare, nn.BatchNorm1d(3, affine=False, track_running_stats=False), x)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 2), (5, 3, 2, 2)])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_sync_batch_norm_without_a_group_is_plain(shape, momentum):
    layer = randomize(dn.SyncBatchNorm(3, 1e-3, momentum).double())
    plain = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    reference = plain(3, 1e-3, momentum).double()
    reference.load_state_dict(layer.state_dict())
    train_like(layer, reference, normal(*shape))
    x = normal(*shape, seed=4)
    assert_close(layer.eval()(x), reference.eval()(x))


NORMS = {
    "GhostBatchNorm1d": (lambda **o: dn.GhostBatchNorm1d(3, 4, **o), (8, 3)),
    "GhostBatchNorm2d": (lambda **o: dn.GhostBatchNorm2d(3, 4, **o), (8, 3, 2, 2)),
    "SyncBatchNorm": (lambda **o: dn.SyncBatchNorm(3, **o), (8, 3)),
    "BatchRenorm1d": (lambda **o: dn.BatchRenorm1d(3, **o), (8, 3)),
    "BatchRenorm2d": (lambda **o: dn.BatchRenorm2d(3, **o), (8, 3, 2, 2)),
}
norms = pytest.mark.parametrize("make, shape", NORMS.values(), ids=NORMS)


@norms
def test_norms_by_finite_differences_and_in_float32(make, shape):
    layer = randomize(make(momentum=0.0).double())  # statistics that stay
    if isinstance(layer, (dn.BatchRenorm1d, dn.BatchRenorm2d)):
        layer.rmax, layer.dmax = 1, 0  # r and d hide a dependence on x from autograd
    x = normal(*shape, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))
    single = copy.deepcopy(layer).float()
    assert_close(single(x.float()).double(), layer(x), 1e-5)
    assert single(x.float()).dtype == torch.float32


@norms
def test_norms_survive_copy_pickle_and_state_dict(make, shape):
    layer = randomize(make().double())
    loaded = make().double()
    loaded.load_state_dict(layer.state_dict())
    x = normal(*shape)
    twins = [loaded, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    for twin in twins:
        train_like(twin, copy.deepcopy(layer), x)
        assert_equal(twin.eval()(x), twins[0].eval()(x))
        assert repr(twin) == repr(layer)


def single_value_per_channel(layer, rank):
    """A batch of one, or with a last ghost batch of one."""
    n = 5 if hasattr(layer, "ghost_batch_size") else 1
    return normal(n, 3, *[1] * (rank - 2))


@norms
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e200])
def test_a_value_that_is_not_finite_is_named_before_any_buffer_changes(
    make, shape, bad
):
    layer, x = make().double(), normal(*shape)
    x[7, 1] = bad  # 1e200 has a square that is not finite
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ValueError, match=r"not so in channels \[1\]"):
        layer(x)
    with pytest.raises(ValueError, match="training .* 1 value per channel, got 1"):
        layer(single_value_per_channel(layer, len(shape)))
    assert_equal(layer.state_dict(), before)


# Folding -----------------------------------------------------------------------------


class Custom(nn.Module):
    """A model that is not a Sequential, with some inside, and more than one of each."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4, eps=1e-3),
            nn.ReLU(),
            nn.Sequential(
                nn.Conv2d(4, 6, 2, groups=2), nn.BatchNorm2d(6, affine=False)
            ),
            nn.Flatten(2),
            nn.Conv1d(6, 5, 3),
            dn.SyncBatchNorm(5),
        )
        self.before = nn.BatchNorm1d(5)  # not in a Sequential
        self.head = nn.Sequential(
            nn.BatchNorm1d(5),  # first
            nn.Linear(5, 7),
            dn.GhostBatchNorm1d(7, 4),
            nn.ReLU(),
            nn.BatchNorm1d(7),  # behind an activation
            nn.Dropout(0.5),
            nn.Linear(7, 7),
            dn.BatchRenorm1d(7),
        )

    def forward(self, x):
        return self.head(self.before(self.features(x).mean(2)))


def test_folding_keeps_the_outputs():
    model = randomize(Custom().double())
    model.train()
    model.features[0].eval()
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    folded = dn.fold_batchnorm(model)
    x = normal(4, 3, 9, 9)
    assert_equal(model.state_dict(), before)
    assert [m.training for m in model.modules()] == modes
    assert not any(m.training for m in folded.modules())
    y = copy.deepcopy(model).eval()(x)
    assert_close(folded(x), y)
    left = [
        n
        for n, m in folded.named_modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    assert left == ["before", "head.0", "head.4"]
    assert type(folded.features[1]) is type(folded.features[3][1]) is nn.Identity
    # nothing is shared with the model
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    assert_close(copy.deepcopy(model).eval()(x), y)


@pytest.mark.parametrize("bias", [True, False])
def test_folding_equals_torchs_of_a_pair(bias):
    for layer, norm, fuse in [
        (nn.Linear(3, 4, bias), nn.BatchNorm1d(4), fuse_linear_bn_eval),
        (nn.Conv2d(3, 4, 2, bias=bias), nn.BatchNorm2d(4), fuse_conv_bn_eval),
    ]:
        pair = randomize(nn.Sequential(layer, norm).double()).eval()
        own, torchs = dn.fold_batchnorm(pair)[0], fuse(*pair)
        assert_close(own.weight, torchs.weight)
        assert_close(own.bias, torchs.bias)


def test_folding_a_layer_that_is_used_twice():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(
        shared, nn.BatchNorm1d(3), nn.Tanh(), shared, nn.BatchNorm1d(3)
    )
    model = randomize(model.double())
    randomize(model[4], seed=1)
    x = normal(4, 3)
    assert_close(dn.fold_batchnorm(model)(x), model.eval()(x))


def test_folding_leaves_a_norm_over_another_axis():
    """Behind a Linear on (N, L, F), BatchNorm1d(L) normalizes positions."""
    inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(5))
    model = nn.Sequential(inner, nn.Flatten(), nn.Linear(20, 2), nn.BatchNorm1d(2))
    randomize(model.double())
    folded, x = dn.fold_batchnorm(model), normal(6, 5, 3)
    assert type(folded[0][1]) is nn.BatchNorm1d
    assert_close(folded(x), model.eval()(x))


def test_folding_does_not_trust_a_sequential_with_its_own_forward():
    class Residual(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    class Strange(nn.Sequential):
        def forward(self, x):
            return self[1](x) + self[0](x)

    for block in (Residual, Strange):
        model = block(nn.Linear(3, 3), nn.BatchNorm1d(3))
        with pytest.raises(ValueError, match=f"{block.__name__} has none"):
            dn.fold_batchnorm(model)


# Precise batch norm ------------------------------------------------------------------


def first_norm():
    return randomize(
        nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 4)).double()
    )


@pytest.mark.parametrize("sizes", [[5, 5, 5], [15], [2, 9, 4]])
def test_reestimated_statistics_are_those_of_the_whole_data(sizes):
    model, x = first_norm(), normal(15, 3) * 3 + torch.tensor([1e4, 0, -2])
    x[:5] += 100  # batches that differ, so that the variance between them counts
    model.train()
    model[2].eval()
    modes = [m.training for m in model.modules()]
    before = copy.deepcopy(model.state_dict())
    dn.reestimate_statistics(model, x.split(sizes))
    norm = model[0]
    assert_close(norm.running_mean, x.mean(0))
    assert_close(norm.running_var, x.var(0))
    assert norm.num_batches_tracked == len(sizes)
    assert [m.training for m in model.modules()] == modes
    for name, value in model.state_dict().items():
        if not name.startswith(("0.running", "0.num")):
            assert_equal(value, before[name])
    assert not norm._forward_pre_hooks


def test_reestimated_statistics_behind_other_layers():
    """Images, a second norm that sees batch-normalized input, one used twice."""
    first, second, twice = (
        nn.BatchNorm2d(3),
        dn.GhostBatchNorm2d(4, 2),
        nn.BatchNorm2d(4),
    )
    conv = nn.Conv2d(3, 4, 2)
    model = nn.Sequential(first, conv, second, twice, nn.ReLU(), twice, nn.Dropout2d())
    randomize(model.double())
    batches = [normal(4, 3, 5, 5, seed=s) * (s + 1) + s for s in range(3)]
    inputs = {second: [], twice: []}
    reference = copy.deepcopy(model)
    for batch in batches:
        x = F.batch_norm(batch, None, None, first.weight, first.bias, True)
        x = conv(x)
        inputs[second].append(x)
        for norm, parts in ((second, x.split(2)), (twice, [x]), (twice, [x])):
            if norm is twice:
                inputs[twice].append(x)
                parts = [x]
            x = torch.cat(
                [
                    F.batch_norm(p, None, None, norm.weight, norm.bias, True)
                    for p in parts
                ]
            )
            x = x.relu() if norm is twice else x
    data = iter([(batch, "label") for batch in batches])  # a DataLoader's pairs
    dn.reestimate_statistics(model, data)
    for norm, seen in inputs.items():
        whole = torch.cat(seen).transpose(0, 1).flatten(1)
        assert_close(norm.running_mean, whole.mean(1).detach())
        assert_close(norm.running_var, whole.var(1).detach())
        assert norm.num_batches_tracked == len(seen)
    assert reference.training == model.training


def test_reestimation_with_dropout_on_sees_its_variance():
    model = nn.Sequential(nn.Dropout(P), nn.BatchNorm1d(2)).double()
    x = torch.ones(2000, 2, dtype=double)
    dn.reestimate_statistics(model, x.split(500))
    assert_equal(model[1].running_var, torch.zeros(2, dtype=double))
    model.eval()
    state = torch.get_rng_state()
    dn.reestimate_statistics(model, x.split(500), dropout=True)
    assert not model[0].training and (torch.get_rng_state() != state).any()
    # The mask of kept units gives mean K/(n q) and variance n/(n − 1) k (1 − k)/q²
    k = model[1].running_mean * 0.7
    for share, var in zip(k, model[1].running_var, strict=True):
        assert_binomial(share * 2000, 2000, 0.7)
        assert_close(var, 2000 / 1999 * share * (1 - share) / 0.49)


class Uses(nn.Module):
    """Calls one of its two norms, and fails when told to."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        self.calls, self.fail_at = 0, None

    def forward(self, x):
        y = self.used(x)
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("on purpose")
        return y


def test_a_failed_reestimation_changes_nothing():
    model = randomize(Uses().double())
    model.fail_at = 2
    model.unused.eval()
    before, x = copy.deepcopy(model.state_dict()), normal(8, 3)
    with pytest.raises(RuntimeError, match="on purpose"):
        dn.reestimate_statistics(model, x.split(4))
    with pytest.raises(TypeError, match="batches must yield tensors, .* got str"):
        dn.reestimate_statistics(model, [x, ["label"]])
    with pytest.raises(ValueError, match=r"finite mean .* channels \[0, 1, 2\]"):
        dn.reestimate_statistics(model, [x, x * math.inf])
    assert_equal(model.state_dict(), before)
    assert model.training and model.used.training and not model.unused.training
    assert not model.used._forward_pre_hooks
    dn.reestimate_statistics(model, [x])
    for name, value in model.state_dict().items():
        if name.startswith("unused"):
            assert_equal(value, before[name])
    assert_close(model.used.running_mean, x.mean(0))


# Bad input ---------------------------------------------------------------------------

X = torch.ones(2, 3)
MAP = torch.ones(1, 1, 4, 4)
SEQUENCE = torch.ones(2, 4, 3)
CLASSES = {
    "OriginalDropout": dn.OriginalDropout,
    "GaussianDropout": dn.GaussianDropout,
    "DropConnectLinear": lambda p: dn.DropConnectLinear(3, 2, p=p),
    "DropBlock2d": lambda p: dn.DropBlock2d(p, 2),
    "StochasticDepth": dn.StochasticDepth,
    "VariationalDropout": dn.VariationalDropout,
    "VariationalGRU": lambda p: dn.VariationalGRU(3, 2, p=p),
    "VariationalLSTM": lambda p: dn.VariationalLSTM(3, 2, p=p),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_bad_probability_is_named(name):
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(
            ValueError, match=f"p, .* must lie between 0 and 1, got {p}"
        ):
            CLASSES[name](p)
    for p in ("half", None, True):
        with pytest.raises(TypeError, match=f"p must be a number .* got {p!r}"):
            CLASSES[name](p)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", [*CLASSES, *NORMS])
def test_input_that_is_not_a_float_tensor_is_named(name, mode):
    layer = CLASSES[name](P) if name in CLASSES else NORMS[name][0]()
    getattr(layer, mode)()
    with pytest.raises(
        TypeError, match="x must be a tensor of floats, got torch.int64"
    ):
        layer(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match="x must be a tensor, got ndarray"):
        layer(np.ones((2, 3)))


BAD = [
    (lambda: dn.GaussianDropout(1), ValueError, r"p must be below 1, .*, got 1"),
    (lambda: dn.GaussianDropout(1.0), ValueError, r"p must be below 1, .*, got 1.0"),
    (lambda: dn.DropConnectLinear(0, 2), ValueError, "in_features must be at least 1"),
    (lambda: dn.DropConnectLinear(2, 2.5), TypeError,
     "out_features must be an integer, got 2.5"),
    (lambda: dn.DropConnectLinear(4, 2)(X), ValueError,
     r"x must have in_features = 4 on its last axis, got shape \(2, 3\)"),
    (lambda: dn.DropConnectLinear(4, 2)(X[0, 0]), ValueError, r"got shape \(\)"),
    (lambda: dn.DropBlock2d(0.1, 0), ValueError, "block_size must be at least 1"),
    (lambda: dn.DropBlock2d(0.1, 2.0), TypeError,
     "block_size must be an integer, got 2.0"),
    (lambda: dn.DropBlock2d(0.1, 2)(X), ValueError,
     r"x must have shape \(N, C, H, W\), got \(2, 3\)"),
    (lambda: dn.DropBlock2d(0.1, 3).eval()(MAP[..., :2]), ValueError,
     r"x must be at least block_size = 3 high and wide, got shape \(1, 1, 4, 2\)"),
    (lambda: dn.StochasticDepth(0.1, "column"), ValueError,
     "mode must be 'row' or 'batch', got 'column'"),
    (lambda: dn.StochasticDepth(0.1)(X[0, 0]), ValueError,
     r"x must have shape \(N, ...\), got \(\)"),
    (lambda: dn.VariationalDropout()(X), ValueError,
     r"x must have shape \(N, T, C\), got \(2, 3\)"),
    (lambda: dn.VariationalDropout(batch_first=False)(X), ValueError,
     r"x must have shape \(T, N, C\), got \(2, 3\)"),
    (lambda: dn.VariationalGRU(0, 2), ValueError, "input_size must be at least 1"),
    (lambda: dn.VariationalLSTM(2, "2"), TypeError, "hidden_size must be an integer"),
    (lambda: dn.VariationalGRU(3, 2)(X), ValueError, r"x must have shape \(N, T, C\)"),
    (lambda: dn.VariationalGRU(4, 2)(SEQUENCE), ValueError,
     r"x must have input_size = 4 features .* got shape \(2, 4, 3\)"),
    (lambda: dn.VariationalGRU(3, 2)(SEQUENCE, torch.ones(1, 3, 2)), ValueError,
     r"hx must have shape \(1, 2, 2\), got \(1, 3, 2\)"),
    (lambda: dn.VariationalGRU(3, 2)(SEQUENCE, (X, X)), TypeError,
     "hx must be a tensor, got tuple"),
    (lambda: dn.VariationalLSTM(3, 2)(SEQUENCE, torch.ones(1, 2, 2)), TypeError,
     r"hx must be a pair \(h, c\), got Tensor"),
    (lambda: dn.VariationalLSTM(3, 2)(SEQUENCE, (torch.ones(1, 2, 2), X)), ValueError,
     r"c of hx must have shape \(1, 2, 2\), got \(2, 3\)"),
    (lambda: dn.GhostBatchNorm1d(3, 0), ValueError, "ghost_batch_size must be at"),
    (lambda: dn.GhostBatchNorm1d(0, 3), ValueError, "num_features must be at least 1"),
    (lambda: dn.GhostBatchNorm2d(3, 1.5), TypeError, "ghost_batch_size must be an int"),
    (lambda: dn.GhostBatchNorm1d(3, 2)(torch.ones(5, 3)), ValueError,
     "in training each ghost batch must have more than 1 value per channel, got 1"),
    (lambda: dn.GhostBatchNorm2d(3, 2)(X), ValueError, "expected 4D input"),
    (lambda: dn.GhostBatchNorm1d(4, 2)(X), ValueError,
     r"x must have num_features = 4 channels on axis 1, got shape \(2, 3\)"),
    (lambda: dn.BatchRenorm2d(3)(X), ValueError, "expected 4D input"),
    (lambda: dn.BatchRenorm1d(4).eval()(X), ValueError, "num_features = 4 channels"),
    (lambda: dn.BatchRenorm1d(3)(X.double()), TypeError,
     "x must have the dtype of the layer, torch.float32, got torch.float64"),
    (lambda: dn.BatchRenorm1d(3, affine=False)(X.double()), TypeError, "the dtype of"),
    (lambda: dn.BatchRenorm1d(0), ValueError, "num_features must be at least 1, got 0"),
    (lambda: dn.BatchRenorm1d(3, rmax=0.5), ValueError, "rmax must be at least 1, got"),
    (lambda: dn.BatchRenorm1d(3, dmax=-1), ValueError, "dmax must be at least 0, got"),
    (lambda: dn.BatchRenorm1d(3, dmax=math.nan), ValueError, "dmax .* got nan"),
    (lambda: dn.BatchRenorm1d(3, rmax="3"), TypeError, "rmax must be a number"),
    (lambda: dn.SyncBatchNorm(0), ValueError, "num_features must be at least 1, got 0"),
    (lambda: dn.SyncBatchNorm(3)(X[0]), ValueError,
     r"x must have shape \(N, C\), \(N, C, L\) or \(N, C, H, W\), got \(3,\)"),
    (lambda: dn.SyncBatchNorm(4)(X), ValueError, "num_features = 4 channels"),
    (lambda: dn.monte_carlo_dropout(X).__enter__(), TypeError,
     "model must be a torch.nn.Module, got Tensor"),
    (lambda: dn.monte_carlo_dropout(nn.Sequential(nn.GRU(2, 2))).__enter__(),
     ValueError, "model must have a dropout module, Sequential has none"),
    (lambda: dn.fold_batchnorm("net"), TypeError, "model must be .*, got str"),
    (lambda: dn.fold_batchnorm(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3))),
     ValueError, "model must have a batch norm directly after .* Sequential has none"),
    (lambda: dn.fold_batchnorm(nn.Sequential(nn.Sequential(
        nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)))), ValueError,
     r"batch norm 0\.1 has no running statistics.* track_running_stats must be True"),
    (lambda: dn.fold_batchnorm(nn.Sequential(
        nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False))), ValueError,
     r"batch norm 1 has no"),
    (lambda: dn.reestimate_statistics(X, [X]), TypeError, "model .* got Tensor"),
    (lambda: dn.reestimate_statistics(nn.BatchNorm1d(3), []), ValueError,
     "batches must hold at least one batch, got none"),
    (lambda: dn.reestimate_statistics(
        nn.BatchNorm1d(3, track_running_stats=False), [X]), ValueError,
     "model must have a batch norm with running statistics, BatchNorm1d has none"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
