"""Exercises of the chapter dropout/layer."""

import numpy as np
import torch

from dropnorm.checks.base import (
    Wrong,
    call,
    check_array,
    checker,
    number,
    numbers,
    prediction_items,
    pure,
    recognize,
)
from dropnorm.checks.masks import (
    CALLS,
    RATES,
    check_ends,
    check_gradient,
    check_masks,
    check_shapes,
    make_input,
    run_layer,
)


@checker
def forward(dropout, *, seed=0):
    """Inverted dropout in training: ``dropout(x, p, rng)`` returns y."""
    rng = np.random.default_rng(seed)
    p = float(rng.choice(RATES))
    draws = np.random.default_rng(seed)

    def run(x, p=p, draws=draws, when=""):
        return run_layer(dropout, x, p, draws, when=when)

    x = make_input(rng, 100, 40)
    check_masks([run(x) for _ in range(CALLS)], x, p, 1 / (1 - p))

    first, second = (run(x, draws=np.random.default_rng(seed)) for _ in range(2))
    if not np.array_equal(first, second):
        raise Wrong(
            "generators in the same state give different masks: are the random "
            "numbers drawn from `rng`, or from NumPy's global generator?"
        )
    run(x.astype(np.float32))
    check_shapes(run, rng, p)
    check_ends(run, rng)


@checker
def backward(forward, backward, *, seed=0):
    """``forward(x, p, rng)`` returns (y, cache), ``backward(dy, cache)`` dx."""
    rng = np.random.default_rng(seed)
    p = float(rng.choice(RATES))
    draws = np.random.default_rng(seed)

    def run(x, p=p):
        """y, and a function from dy to dx that goes back through this pass."""
        caches = []
        when = f"at p = {p}"

        def only_y(x):
            result = call(forward, x, p, draws, when=when)
            if not isinstance(result, (tuple, list)) or len(result) != 2:
                raise Wrong("the forward function must return two things, y and cache")
            caches.append(result[1])
            return result[0]

        def to_dx(dy):
            given = dy.copy()
            dx = call(backward, given, caches[0], when=when)
            if not np.array_equal(given, dy):
                raise Wrong("the backward function changes dy: is there a `*=`?")
            check_array(dx, like=dy, when=f"{when}, backward:")
            return dx

        return run_layer(only_y, x, when=f"{when}, forward:"), to_dx

    x = make_input(rng, 100, 40)
    passes = [run(x) for _ in range(CALLS)]
    check_masks([y for y, _ in passes], x, p, 1 / (1 - p))
    dy = make_input(rng, *x.shape)
    for y, to_dx in passes[::-1]:  # the most recent first, as in a network
        check_gradient(to_dx(dy), dy, x, y / x)
    y, to_dx = passes[0]
    if not np.allclose(to_dx(2 * dy), 2 * dy * y / x):
        raise Wrong(
            "the second call of backward with the same cache differs from the first: "
            "does the first change the cache, or draw anew?"
        )
    for other in (x.astype(np.float32), make_input(rng, 4, 3, 5, 6)):
        y, to_dx = run(other)
        dy = make_input(rng, *other.shape).astype(other.dtype)
        check_gradient(to_dx(dy), dy, other, y / other)
    check_ends(lambda x, p, when: run(x, p)[0], rng)
    for p, factor in ((0.0, 1), (1.0, 0)):
        _, to_dx = run(x, p)
        dy = make_input(rng, *x.shape)
        if not np.allclose(to_dx(dy), factor * dy):
            raise Wrong(f"at p = {p:g} dx should be {factor} times dy, and is not")


@checker
def original(layer, *, seed=0):
    """``layer(x, weight, bias, q, rng, training)`` returns z; q = probability to keep.

    The weight's columns are orthonormal, so z - b gives back what came out of the
    dropout: h Wᵀ W = h.
    """
    rng = np.random.default_rng(seed)
    q = float(rng.choice(RATES))
    draws = np.random.default_rng(seed)
    weight = np.linalg.qr(rng.standard_normal((60, 40)))[0]
    bias = make_input(rng, 60)
    x = make_input(rng, 100, 40)

    def run(training):
        arrays = [x.copy(), weight.copy(), bias.copy()]
        when = f"with training={training}"
        z = call(layer, *arrays, q, draws, training, when=when)
        for name, old, new in zip(
            ["x", "weight", "bias"], [x, weight, bias], arrays, strict=True
        ):
            if not np.array_equal(old, new):
                raise Wrong(f"{when} your code changes {name} itself: copy it instead")
        check_array(z, like=np.empty((100, 60)), when=when)
        return z

    dropped = []
    for _ in range(CALLS):
        z = run(training=True)
        h = (z - bias) @ weight
        h[abs(h) < 1e-9] = 0
        if h.all() and not np.allclose(h, x):
            what = "no unit of the input x is 0 in z = W h + b: what is dropped?"
            if not z.all() or not (z - bias).all():
                what = "units of the output are dropped, expected units of the input x"
            elif np.allclose(h, q * x):
                what = "nothing is dropped but W is scaled: are the modes exchanged?"
            elif np.isclose(z @ weight, 0, atol=1e-9).any():
                what = "b is missing"
            raise Wrong(f"with training=True {what}")
        dropped.append(h)
    check_masks(dropped, x, round(1 - q, 1), 1)

    once, again = run(training=False), run(training=False)
    if not np.array_equal(once, again):
        raise Wrong(
            "with training=False two passes differ: is something still dropped?"
        )
    product = x @ weight.T
    expected = q * product + bias
    known = {
        "z is W x + b: where are the weights scaled?": product + bias,
        "b is scaled too: was the bias ever dropped?": q * (product + bias),
        "the weights are divided by q": product / q + bias,
        "the weights are scaled by 1 - q: is q the probability to drop?": (
            (1 - q) * product + bias
        ),
        "b is missing": q * product,
        "the factor q appears twice": q**2 * product + bias,
    }
    if not np.allclose(once, expected):
        words = recognize(once, known, "z is not the mean of the z of training")
        raise Wrong(f"with training=False {words}")


@checker
def covariance(formula, *, seed=0):
    """``formula(u, v, x, p)`` returns Cov[Σ u_i x̃_i, Σ v_i x̃_i] over the masks."""
    rng = np.random.default_rng(seed)
    for p in rng.permutation(RATES):
        u, v, x = make_input(rng, 5), make_input(rng, 5), make_input(rng, 5)
        s, t = u * x, v * x
        when = f"at p = {p} the covariance"
        result = call(formula, u.copy(), v.copy(), x.copy(), float(p))
        result = number(result, when)
        noise = p / (1 - p)
        expected = noise * (s * t).sum()
        if np.isclose(result, expected):
            continue
        known = {
            "do s and t have masks of their own?": 0,
            "that has (Σ u x)(Σ v x) in place of Σ u v x²: do different units share "
            "their fate?": noise * s.sum() * t.sum(),
            "that is p (1 - p) Σ u v x², without the scaling of inverted dropout": (
                p * (1 - p) * (s * t).sum()
            ),
            "that is E[s t]: what is to be subtracted from it?": (
                expected + s.sum() * t.sum()
            ),
            "that is Σ u v E[x̃²]: what is to be subtracted from it?": (
                (s * t).sum() / (1 - p)
            ),
            "that is E[s] E[t]": s.sum() * t.sum(),
            "that is the correlation, the covariance of standardized s and t": (
                (s * t).sum() / np.sqrt((s**2).sum() * (t**2).sum())
            ),
            "x is not squared": noise * (u * v * x).sum(),
            "x is missing": noise * (u * v).sum(),
            "keeping and dropping are exchanged: (1 - p)/p for p/(1 - p)": (
                (1 - p) / p * (s * t).sum()
            ),
            "that takes p for the variance of r, which is 1 with probability 1 - p "
            "and else 0": p / (1 - p) ** 2 * (s * t).sum(),
            "that is an average over the units, not a sum": expected / len(x),
        }
        hint = "what is the variance of one x̃_i, and which pairs of units covary?"
        raise Wrong(
            f"{when} is {result:.4g}, expected {expected:.4g}: "
            + recognize(result, known, hint)
        )


@checker
def predictions(predicted, *, seed=0):
    """``predicted`` maps the four programs' names to fractions of zeros."""
    first, second = 0.3, 0.5
    keep = (1 - first) * (1 - second)
    reversed_p = {"is p the probability to keep, or to drop?": 1 - first}
    programs = {
        "chain": (
            1 - keep,
            {
                "can a unit be dropped twice?": first + second,
                "must both layers drop a unit to make it 0?": first * second,
                "is that the fraction that survives?": keep,
                "does the second layer do nothing?": first,
                "does the first layer do nothing?": second,
            },
        ),
        "relu": (
            0.5 + 0.5 * first,
            {
                "which zeros are there before the dropout?": first,
                "does dropout leave all positive values?": 0.5,
                "are the zeros that ReLU makes counted?": 0.5 * first,
                "can a 0 be dropped once more?": 0.5 + first,
                "is that the fraction that survives?": 0.5 * (1 - first),
            },
        ),
        "eval": (
            first,
            {
                "how would a function know the model's mode? Look up the default of "
                "F.dropout's argument `training`": 0.0,
                **reversed_p,
            },
        ),
        "no_grad": (
            first,
            {
                "does torch.no_grad() change the mode, or only what autograd "
                "records?": 0.0,
                **reversed_p,
            },
        ),
    }
    for name, prediction in prediction_items(predicted, programs):
        truth, slips = programs[name]
        value = number(prediction, name)
        if not 0 <= value <= 1:
            raise Wrong(f"{name}: {value:g} is not a fraction between 0 and 1")
        if abs(value - truth) > 0.004:
            question = recognize(value, slips, "run it: what did you not expect?")
            raise Wrong(f"{name} does not print {value:g}: {question}")


@checker
def convert(convert, *, seed=0):
    """``convert(value, source, target)`` between the names of four conventions."""
    rng = np.random.default_rng(seed)
    keeps = {"torch": False, "keras": False, "tf1": True, "srivastava": True}
    value = float(np.round(rng.uniform(0.1, 0.4), 2))
    wrong = {}
    for source in keeps:
        for target in keeps:
            when = f"from {source} to {target}"
            result = number(call(convert, value, source, target, when=when), when)
            same = keeps[source] == keeps[target]
            if not np.isclose(result, value if same else 1 - value):
                wrong[source, target] = result
    if not wrong:
        return
    pairs = {(s, t) for s in keeps for t in keeps}
    for name in keeps:
        if set(wrong) == {(s, t) for s, t in pairs if (s == name) != (t == name)}:
            raise Wrong(
                f"every conversion from or to {name} is reversed: does its number say "
                "how many units are kept, or how many are dropped?"
            )
    (source, target), result = next(iter(wrong.items()))
    raise Wrong(
        f"convert({value}, {source!r}, {target!r}) gives {result:g}: do {source} and "
        f"{target} both count the kept units, both the dropped ones, or one each? "
        f"({len(wrong)} of {len(pairs)} pairs are wrong)"
    )


@checker
def module(cls, *, seed=0):
    """``cls(p)`` is a torch.nn.Module: inverted dropout that heeds train and eval."""
    rng = np.random.default_rng(seed)
    p = float(rng.choice(RATES))
    layer = call(cls, p)
    if not isinstance(layer, torch.nn.Module):
        raise Wrong(f"the class makes a {type(layer).__name__}, not a nn.Module")

    def run(x, layer=layer, when=""):
        def through(x):
            y = call(layer, torch.from_numpy(x), when=when)
            if not isinstance(y, torch.Tensor):
                raise Wrong(f"the output is a {type(y).__name__}, expected a tensor")
            return y.detach().numpy()

        return run_layer(through, x, when=when)

    x = make_input(rng, 100, 40)
    check_masks([run(x) for _ in range(CALLS)], x, p, 1 / (1 - p))
    run(x.astype(np.float32))
    check_shapes(run, rng, p)
    check_ends(lambda x, p, when: run(x, call(cls, p), when), rng)

    tensor = torch.from_numpy(x).requires_grad_()
    y = call(layer, tensor)
    if not y.requires_grad:
        raise Wrong("no gradient flows back to x: does it pass through NumPy or .data?")
    (dx,) = torch.autograd.grad(y.sum(), tensor)
    mask = (y / tensor).detach().numpy()
    check_gradient(dx.numpy(), np.ones_like(x), x, mask)

    def check_training(when):
        if np.array_equal(run(x, when=when), x):
            raise Wrong(f"{when} nothing is dropped: what decides the mode?")

    other = call(cls, p)
    layer.eval()
    _check_identity(run, x, p)
    if np.array_equal(run(x, other), x):
        raise Wrong("eval() of one layer switches off another: where is the mode kept?")
    with torch.no_grad():
        _check_identity(run, x, p)
    layer.train()
    check_training("after eval() and train() again")
    with torch.no_grad():
        check_training("in training mode under torch.no_grad()")
    check_masks([run(x) for _ in range(CALLS)], x, p, 1 / (1 - p))
    _check_device(layer)


def _check_identity(run, x, p):
    once, again = (run(x, when="in evaluation mode") for _ in range(2))
    if not np.array_equal(once, again):
        raise Wrong(
            "in evaluation mode two passes differ: does your code look at "
            "`self.training`?"
        )
    if not np.allclose(once, x):
        factor = (once / x).mean()
        raise Wrong(
            f"in evaluation mode the output is {factor:.2f} times x, expected x: the "
            "inverted form has done its scaling in training"
        )


def _check_device(layer):
    """Mask and input must share a device; "meta" stands for one that is not the CPU."""
    try:
        call(layer, torch.ones(4, 4, device="meta"))
    except Wrong as error:
        if "device" in str(error):
            raise Wrong(
                "on an input that is not on the CPU the mask still is: what makes "
                "random numbers on the device of x? (torch.rand_like)"
            ) from None


@checker
def network(cls, *, seed=0):
    """``cls(n_in, n_hidden, n_out, keep_prob)``: dropout between its two layers.

    The layers are set so that the hidden outputs are x + 1, at least 1, and that the
    logits give back what the second layer reads: its weight has orthonormal columns.
    """
    rng = np.random.default_rng(seed)
    p = float(rng.choice(RATES))
    net = call(cls, 40, 40, 60, 1 - p)
    if not isinstance(net, torch.nn.Module):
        raise Wrong(f"the class makes a {type(net).__name__}, not a nn.Module")
    net.to(torch.float64)
    weight, bias = np.linalg.qr(rng.standard_normal((60, 40)))[0], make_input(rng, 60)
    _set_layer(net, "hidden", np.eye(40), np.ones(40))
    _set_layer(net, "output", weight, bias)
    h = 1 + rng.random((100, 40))

    def run(h, when):
        def logits(x):
            z = call(net, torch.from_numpy(x), when=when)
            if not isinstance(z, torch.Tensor):
                raise Wrong(f"{when} the output is a {type(z).__name__}, not a tensor")
            return z.detach().numpy()

        z = pure(logits, {"x": h - 1}, when=when)
        check_array(z, like=np.empty((len(h), 60)), when=when)
        return z

    net.eval()
    when = "in evaluation mode"
    once, again = run(h, when), run(h, when)
    if not np.array_equal(once, again):
        raise Wrong(
            f"{when} two passes differ: does a function such as F.dropout know the "
            "mode of your module?"
        )
    longer = run(2 * h, when)
    if np.allclose(once, longer):
        raise Wrong(
            f"{when} hidden outputs that are twice as long give the same logits: is "
            "something divided by its length?"
        )
    expected = np.maximum(h, 0) @ weight.T + bias
    if not np.allclose(once, expected):
        factor = ((once - bias) @ weight / h).mean()
        raise Wrong(
            f"{when} the output layer reads {factor:.2f} times the hidden outputs, "
            "expected 1.00: the inverted form does its scaling in training"
            if np.allclose((once - bias) @ weight, factor * h)
            else f"{when} the logits are not W relu(hidden(x)) + b"
        )
    if not np.allclose(run(h - 3, when), np.maximum(h - 3, 0) @ weight.T + bias):
        raise Wrong(f"{when} negative hidden outputs pass: is the ReLU missing?")

    net.train()
    when = "in training mode"
    passes = [run(h, when) for _ in range(CALLS)]
    if any((z == 0).any() for z in passes):
        raise Wrong(
            f"{when} some logits are 0: what would a class be that is dropped? The "
            "loss needs all of them"
        )
    read = [(z - bias) @ weight for z in passes]
    for values in read:
        values[abs(values) < 1e-9] = 0
    lengths = np.array([np.linalg.norm(values, axis=1) for values in read])
    if np.allclose(lengths, lengths[0, 0]):
        raise Wrong(
            f"{when} what the output layer reads has the length {lengths[0, 0]:.2f} "
            "for every example: is it divided by its length?"
        )
    if all(values.all() for values in read) and not np.allclose(read[0], read[1]):
        raise Wrong(
            f"{when} passes differ, but no hidden output is dropped: is it the input?"
        )
    check_masks(read, h, p, 1 / (1 - p))


def _set_layer(net, name, weight, bias):
    layer = getattr(net, name, None)
    if not isinstance(layer, torch.nn.Linear) or layer.weight.shape != weight.shape:
        raise Wrong(f"expected a nn.Linear {weight.shape[::-1]} called self.{name}")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))


def _uniform_dropout(decide, scale=lambda p: 1 / (1 - p) if p < 1 else 0.0):
    """A dropout(x, p, rng) from decide(rng, shape, p), the mask of kept units."""

    def dropout(x, p, rng):
        x = np.asarray(x)
        y = x * decide(rng, x.shape, p) * scale(p)
        return y.astype(x.dtype if x.dtype.kind == "f" else float)

    return dropout


def _keep(rng, shape, p):
    return rng.random(shape) >= p


RIGHT = [
    _uniform_dropout(_keep),
    _uniform_dropout(lambda rng, shape, p: rng.random(shape) < 1 - p),
    _uniform_dropout(lambda rng, shape, p: rng.binomial(1, 1 - p, shape)),
]
FAULTS = {
    "does nothing": lambda x, p, rng: np.array(x),
    "keeps with probability p": _uniform_dropout(
        lambda rng, shape, p: rng.random(shape) < p
    ),
    "always drops half, whatever p": _uniform_dropout(
        lambda rng, shape, p: rng.random(shape) >= 0.5
    ),
    "does not scale": _uniform_dropout(_keep, lambda p: 1.0),
    "scales by 1/p": _uniform_dropout(_keep, lambda p: 1 / p if p > 0 else 1.0),
    "uses one mask for all rows": _uniform_dropout(
        lambda rng, shape, p: rng.random(shape[1:]) >= p
    ),
    "drops whole rows": _uniform_dropout(
        lambda rng, shape, p: rng.random(shape[:1] + (1,) * (len(shape) - 1)) >= p
    ),
    "draws the same mask in every call": _uniform_dropout(
        lambda rng, shape, p: np.random.default_rng(0).random(shape) >= p
    ),
}


@checker
def detector(is_right, *, seed=0):
    """``is_right(dropout)`` tells a right dropout(x, p, rng) from faulty ones."""
    rng = np.random.default_rng(seed)

    def verdict(dropout, what):
        run = int(rng.integers(2**32))

        def rerun(x, p, rng):
            # Other masks in every run, even if the test seeds its generator.
            draw = int(rng.random() * 2**53)
            return dropout(x, p, np.random.default_rng([run, draw]))

        answer = call(is_right, rerun, when=f"on a dropout that {what}")
        if not isinstance(answer, (bool, np.bool_)):
            raise Wrong(f"your test returned {answer!r}, expected True or False")
        return bool(answer)

    accepted = [verdict(RIGHT[i % len(RIGHT)], "is right") for i in range(150)]
    if not any(accepted):
        raise Wrong("your test rejects every right dropout: what does it ask too much?")
    if not all(accepted):
        raise Wrong(
            f"your test rejects a right dropout in {accepted.count(False)} of "
            f"{len(accepted)} runs: how far may a fraction stray by chance?"
        )
    for fault, dropout in FAULTS.items():
        passed = sum(verdict(dropout, fault) for _ in range(5))
        if passed:
            raise Wrong(
                f"your test accepts a dropout that {fault} (in {passed} of 5 runs): "
                "what would you have to look at to see that?"
            )


@checker
def left_on(measure, train, *, seed=0):
    """``measure(seed, p, width)``: test accuracies with dropout off and left on.

    Both are measured on the network of ``train(seed, p, width)``, which returns
    (net, split) and gives the same network for the same arguments.
    """
    rng = np.random.default_rng(seed)
    student, ours = 20, 100  # forward passes with dropout left on
    for p, width in ((0.0, 16), (0.6, 16), (0.6, 64)):
        arguments = int(rng.integers(100)), p, width
        net, split = call(train, *arguments)
        when = f"measure{arguments}"
        off, on = numbers(call(measure, *arguments), [f"{when}: off", f"{when}: on"])

        def accuracy(x, y, net=net):
            return float((net(x).argmax(axis=1) == y).mean())

        net.eval()
        truth = accuracy(split.x_test, split.y_test)
        elsewhere = {
            "training part": accuracy(split.x_train, split.y_train),
            "validation part": accuracy(split.x_val, split.y_val),
        }
        net.train()
        n = len(split.y_test)
        with_noise = np.mean(
            [accuracy(split.x_test, split.y_test) for _ in range(ours)]
        )
        # Hoeffding's bound for two means of n · passes independent hits and misses.
        margin = sum(np.sqrt(np.log(2e10) / (2 * n * k)) for k in (student, ours))
        said = f"{when} says {off:.3f} in evaluation mode and {on:.3f} with dropout on"
        if p and off == on:
            raise Wrong(f"{said}: is the mode the same both times?")
        if p and abs(on - truth) < 1e-9:
            raise Wrong(f"{said}: are the two exchanged?")
        if abs(off - truth) > 1e-9:
            for part, value in elsewhere.items():
                if abs(off - value) < 1e-9:
                    raise Wrong(f"{said}: is that the {part}?")
            raise Wrong(
                f"{said}, but in evaluation mode the network of train{arguments} "
                f"gets {truth:.3f} on the test part: is it that network, the whole of "
                "that part, and without dropout?"
            )
        if abs(on - with_noise) > margin:
            raise Wrong(
                f"{said}; the latter should lie between {with_noise - margin:.3f} and "
                f"{with_noise + margin:.3f}: is it the mean of 20 passes over the test "
                "part in training mode?"
            )
