"""What the outputs of a dropout layer tell about its masks.

Masks are random, so a checker counts what is exactly binomial and asks whether
chance explains the count (`plausible`): a right answer is turned away by chance at
most once in 10⁹ runs. No mask is judged at p = 0.5, where keeping with
probability p, or scaling by 1/p, looks right.
"""

import numpy as np
from scipy.stats import norm

from dropnorm.checks.base import Wrong, check_array, plausible, pure, recognize

RATES = [0.2, 0.3, 0.6, 0.7]
CALLS = 8  # forward passes that are looked at together


def make_input(rng, *shape):
    """Numbers of either sign, none of them near 0, so that a 0 was dropped."""
    return rng.uniform(1, 2, shape) * rng.choice([-1.0, 1.0], shape)


def run_layer(dropout, x, *args, when=""):
    """dropout(x, *args), checked to be an array like x and to leave x alone."""
    y = pure(dropout, {"x": x}, *args, when=when)
    check_array(y, like=x, when=when)
    return y


# What the outputs of several passes tell about the masks behind them


def check_masks(ys, x, p, scale):
    """x of shape (examples, features); ys, outputs of several passes over it."""
    keep = np.stack(ys) != 0
    calls, rows, columns = keep.shape
    if keep.all():
        raise Wrong("nothing is dropped: every unit survives")
    if not keep.any():
        raise Wrong("everything is dropped: no unit survives")
    if (keep == keep[0]).all():
        raise Wrong(
            f"{calls} passes in a row drop the same units: is a generator made, or "
            "seeded, inside your code?"
        )
    if (keep == keep[:, :1, :1]).all():
        raise Wrong(
            "in each pass all units survive or none: is one random number drawn for "
            "all of them?"
        )
    if (keep == keep[:, :1]).all():
        raise Wrong(
            f"all {rows} examples of a batch lose the same units: is one mask drawn "
            "for the whole batch?"
        )
    if (keep == keep[:, :, :1]).all():
        raise Wrong(
            f"an example keeps or loses all its {columns} features together: is one "
            "number drawn for each example?"
        )
    for counts, where in (
        (keep.sum(axis=(1, 2)), f"of {rows * columns} units in each pass"),
        (keep.sum(axis=2), f"of {columns} units in each example"),
    ):
        if counts.min() == counts.max():
            raise Wrong(
                f"exactly {counts.min()} {where} survive, never one more or less: is "
                "their number chosen, rather than each unit's fate by itself?"
            )
    _check_rate(keep, x, p)
    check_scale(ys, x, p, scale)
    # Of two independent units both or neither survive with probability p² + (1-p)².
    for axis, neighbors in enumerate(["passes", "examples", "features"]):
        even, odd = np.moveaxis(keep, axis, 0)[::2], np.moveaxis(keep, axis, 0)[1::2]
        alike, q = even == odd, p**2 + (1 - p) ** 2
        if not plausible(alike.sum(), alike.size, q):
            raise Wrong(
                f"neighboring {neighbors} share their fate in {alike.mean():.2f} of "
                f"all pairs, expected {q:.2f}: does each unit get a number of its own?"
            )


def _check_rate(keep, x, p):
    if plausible(keep.sum(), keep.size, 1 - p):
        return
    question = "what is the random number compared with?"
    sign = np.broadcast_to(x > 0, keep.shape)
    if not sign.all() and not keep[~sign].any():
        question = (
            "and of the negative inputs none: is x multiplied by the random number "
            "before the comparison?"
        )
    elif plausible(keep.sum(), keep.size, p):
        question = "is the comparison reversed?"
    elif plausible(keep.sum(), keep.size, 0.5):
        question = "is p used at all?"
    elif any(plausible(keep.sum(), keep.size, q) for q in (norm.sf(p), norm.cdf(p))):
        question = "are the random numbers normal, where uniform ones are needed?"
    raise Wrong(
        f"units survive with probability {keep.mean():.2f}, expected {1 - p:.2f}: "
        + question
    )


def check_scale(ys, x, p, scale):
    """Every kept value must be x times `scale`."""
    for y in ys:
        keep = y != 0
        factor = y[keep] / x[keep]
        if np.allclose(factor, scale, rtol=1e-5):
            continue
        if np.ptp(factor) > 1e-5:
            raise Wrong(
                f"kept values are x times factors from {factor.min():.2f} to "
                f"{factor.max():.2f}, expected {scale:.2f} throughout: what "
                "else enters the result?"
            )
        known = {
            "is the factor 1/(1 - p) missing?": 1,
            "is the division by p, the probability to drop?": 1 / p,
            "is it multiplied by 1 - p, where it should be divided?": 1 - p,
            "is it multiplied by p?": p,
            "is the factor 1/(1 - p) applied twice?": 1 / (1 - p) ** 2,
            "is the division by the fraction kept in this one pass?": 1 / keep.mean(),
        }
        if scale == 1:  # the original form
            known["is this the inverted form, which scales in training?"] = 1 / (1 - p)
        question = recognize(
            factor, known, "which factor makes up for the dropped units?"
        )
        raise Wrong(
            f"kept values are x times {factor[0]:.4g}, expected {scale:.4g}: {question}"
        )


def check_shapes(run, rng, p):
    """Every element of an input of any shape has a mask entry of its own."""
    for shape in [(500,), (4, 3, 5, 6), (6, 6, 6, 6)]:
        x = make_input(rng, *shape)
        y = run(x, when=f"on an input of shape {shape}")
        keep = y != 0
        tied = [a for a in range(x.ndim) if (keep == keep.take([0], axis=a)).all()]
        if tied:
            raise Wrong(
                f"on an input of shape {shape} the mask is constant along the axes "
                f"{tied}: does the mask have the shape of x?"
            )
        check_scale([y], x, p, 1 / (1 - p))


def check_ends(run, rng):
    """At p = 0 everything is kept, at p = 1 nothing."""
    x = make_input(rng, 50, 20)
    if not np.allclose(run(x, p=0.0, when="at p = 0"), x):
        raise Wrong("at p = 0 the output differs from x, although nothing is dropped")
    if run(x, p=1.0, when="at p = 1").any():
        raise Wrong("at p = 1 something survives, although everything is dropped")


def check_gradient(dx, dy, x, mask):
    """dx must be mask · dy; mask holds 0 and 1/(1-p)."""
    if np.allclose(dx, mask * dy, rtol=1e-5):
        return
    known = {
        "dx equals dy, as if nothing had been dropped": dy,
        "dx is dy where kept and 0 where dropped: is the factor 1/(1 - p) missing?": (
            (mask != 0) * dy
        ),
        "dx carries the factor 1/(1 - p) twice": mask**2 * dy,
        "dx equals dy · y: what is the derivative of m · x with respect to x?": (
            mask * x * dy
        ),
        "dx equals dy · x: what is the derivative of m · x with respect to x?": x * dy,
        "dx equals the mask: where does dy come in?": mask,
        "dx equals dy divided by the scale: is it divided where it should be "
        "multiplied?": dy * (mask != 0) / mask.max(),
        "dx is nonzero exactly where the unit was dropped: is the mask reversed?": (
            (mask == 0) * dy * mask.max()
        ),
    }
    if words := recognize(dx, known):
        raise Wrong(words)
    astray = ((dx != 0) & (mask == 0)).mean()
    if astray > 0:
        raise Wrong(
            f"{astray:.2f} of all entries were dropped in the forward pass and yet "
            "have a gradient: is a new mask drawn, or that of another pass used?"
        )
    raise Wrong("dx is 0 where it should be, but elsewhere it is not dy/(1 - p)")
