"""Optimizers for the NumPy layers, and schedules of their learning rate.

SGD, Adam, AdamW                         optimizers
StepLR, CosineAnnealingLR, LinearLR      schedules: `step` them once an epoch
SequentialLR                             one schedule after another, as for a warm-up
"""

import bisect
import itertools
import math
import numbers

import numpy as np

from dropnorm.layers.base import check_integer


def _check_number(name, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")


def _check_not_negative(name, value):
    _check_number(name, value)
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be finite and at least 0, got {value}")


class Optimizer:
    """What the optimizers share; a subclass defines ``_update(name, w, gradient)``.

    Attributes
    ----------
    lr : float
        Learning rate: assignable, and what schedules change.
    steps : int
        Number of updates so far.
    """

    def __init__(self, model, lr, weight_decay):
        _check_not_negative("lr", lr)
        _check_not_negative("weight_decay", weight_decay)
        self.model = model
        self.lr, self.weight_decay = lr, weight_decay
        self.steps = 0
        self.initial_lr = None  # the first schedule puts it here for the others

    def _zeros(self):
        return {name: np.zeros_like(w) for name, w in self.model.params.items()}

    def _update(self, name, weight, gradient):
        raise NotImplementedError(f"{type(self).__name__} defines no _update")

    def step(self):
        """One update of every parameter, in place.

        Raises ValueError if a parameter has no gradient: call ``backward`` first.
        """
        for name in self.model.params:
            if name not in self.model.grads:
                raise ValueError(f"{name} has no gradient: call backward before step")
        self.steps += 1
        for name, weight in self.model.params.items():
            self._update(name, weight, self.model.grads[name])


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as ``torch.optim.SGD``.

    Parameters
    ----------
    model : dropnorm.layers.Layer
        Usually a `Sequential`; `step` reads its `grads` and changes its `params`.
    lr : float
        Learning rate.
    momentum, weight_decay : float
        Per step, with d = gradient + weight_decay · w:
        v ← momentum · v + d (v starts as the first d), then w ← w − lr · v.
    nesterov : bool
        Use d + momentum · v in place of v: the gradient as if one step further on.

    Raises
    ------
    TypeError, ValueError
        If a rate is not a finite number of at least 0, or `nesterov` has no momentum.

    References
    ----------
    Sutskever et al. (2013), On the Importance of Initialization and Momentum in Deep
    Learning, section 2. There the learning rate is part of v; here, as in PyTorch, not.
    """

    def __init__(
        self, model, lr=1e-3, momentum=0.0, *, weight_decay=0.0, nesterov=False
    ):
        super().__init__(model, lr, weight_decay)
        _check_not_negative("momentum", momentum)
        if nesterov and momentum == 0:
            raise ValueError(f"nesterov needs a momentum above 0, got {momentum}")
        self.momentum, self.nesterov = momentum, nesterov
        self.velocity = self._zeros()

    def _update(self, name, weight, gradient):
        d = gradient + self.weight_decay * weight
        v = self.velocity[name]
        v *= self.momentum
        v += d  # v ← μ v + d
        weight -= self.lr * (d + self.momentum * v if self.nesterov else v)


class Adam(Optimizer):
    """Adam, as ``torch.optim.Adam``: steps scaled by each weight's gradients so far.

    Parameters
    ----------
    model : dropnorm.layers.Layer
        Usually a `Sequential`; `step` reads its `grads` and changes its `params`.
    lr : float
        Learning rate.
    betas : pair of float
        How much of the running means of d and of d² a step keeps; below 1.
    eps : float
        Added to the root that divides.
    weight_decay : float
        Here an L2 penalty: d = gradient + weight_decay · w, so that the scaling
        applies to it as well. See `AdamW`.

    Raises
    ------
    TypeError, ValueError
        If a number is not finite and at least 0, or a beta not below 1.

    References
    ----------
    Kingma and Ba (2015), Adam: A Method for Stochastic Optimization, algorithm 1.
    """

    def __init__(self, model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(model, lr, weight_decay)
        _check_not_negative("eps", eps)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas must be a pair of numbers, got {betas!r}")
        for index, beta in enumerate(betas):
            _check_not_negative(f"betas[{index}]", beta)
            if beta >= 1:
                raise ValueError(f"betas[{index}] must be below 1, got {beta}")
        self.betas, self.eps = tuple(betas), eps
        self.mean = self._zeros()
        self.mean_square = self._zeros()

    def _decay(self, weight, gradient):
        return gradient + self.weight_decay * weight

    def _update(self, name, weight, gradient):
        beta1, beta2 = self.betas
        d = self._decay(weight, gradient)
        m, v = self.mean[name], self.mean_square[name]
        m += (1 - beta1) * (d - m)  # m ← β₁ m + (1 − β₁) d
        v += (1 - beta2) * (d * d - v)  # v ← β₂ v + (1 − β₂) d²
        # Both start at 0, so that after t steps they are too small by 1 − βᵗ.
        m_hat = m / (1 - beta1**self.steps)
        v_hat = v / (1 - beta2**self.steps)
        weight -= self.lr * m_hat / (np.sqrt(v_hat) + self.eps)


class AdamW(Adam):
    """Adam with decoupled weight decay, as ``torch.optim.AdamW``.

    A step first shrinks the weights, w ← (1 − lr · weight_decay) w, and then is
    Adam's without decay: large gradients do not weaken the decay as they do in `Adam`.

    Parameters
    ----------
    model, lr, betas, eps, weight_decay
        As for `Adam`; `weight_decay` is by default 0.01.

    Raises
    ------
    TypeError, ValueError
        As `Adam`.

    References
    ----------
    Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization, algorithm 2.
    There the learning rate does not multiply the decay; here, as in PyTorch, it does.
    """

    def __init__(self, model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(model, lr, betas, eps, weight_decay)

    def _decay(self, weight, gradient):
        weight *= 1 - self.lr * self.weight_decay
        return gradient


class Schedule:
    """What the schedules share; a subclass defines ``lr_at(t)``.

    Making a schedule sets the optimizer's rate to that at t = 0, each `step` to the
    next. The rate that all schedules of an optimizer start from is the one that it had
    when the first of them was made.

    Attributes
    ----------
    last_epoch : int
        Number of steps so far.
    """

    def __init__(self, optimizer):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be one of ours, got {optimizer!r}")
        if optimizer.initial_lr is None:
            optimizer.initial_lr = optimizer.lr
        self.optimizer = optimizer
        self.base_lr = optimizer.initial_lr
        self.last_epoch = 0
        optimizer.lr = self.lr_at(0)

    def lr_at(self, t):
        """The learning rate after `t` steps."""
        raise NotImplementedError(f"{type(self).__name__} defines no lr_at")

    def step(self):
        """Set the optimizer's next learning rate: call it after an epoch's updates."""
        self.last_epoch += 1
        self.optimizer.lr = self.lr_at(self.last_epoch)


class StepLR(Schedule):
    """lr · gamma^⌊t/step_size⌋, as ``torch.optim.lr_scheduler.StepLR``.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
        Steps between reductions.
    gamma : float
        Factor of a reduction.

    Raises
    ------
    TypeError, ValueError
        If `step_size` is not an integer of at least 1 or `gamma` not a finite number
        of at least 0.
    """

    def __init__(self, optimizer, step_size, gamma=0.1):
        check_integer("step_size", step_size)
        _check_not_negative("gamma", gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def lr_at(self, t):
        return self.base_lr * self.gamma ** (t // self.step_size)


class CosineAnnealingLR(Schedule):
    """η + (lr − η)(1 + cos(π t/T))/2: half a cosine from lr down to η in T steps.

    As ``torch.optim.lr_scheduler.CosineAnnealingLR``; after T the cosine rises again.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        T, the steps from the largest to the smallest rate.
    eta_min : float
        η, the smallest rate.

    Raises
    ------
    TypeError, ValueError
        If `T_max` is not an integer of at least 1 or `eta_min` not a finite number of
        at least 0.

    References
    ----------
    Loshchilov and Hutter (2017), SGDR: Stochastic Gradient Descent with Warm Restarts,
    equation 5, without the restarts.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0):
        check_integer("T_max", T_max)
        _check_not_negative("eta_min", eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def lr_at(self, t):
        height = (1 + math.cos(math.pi * t / self.T_max)) / 2
        return self.eta_min + (self.base_lr - self.eta_min) * height


class LinearLR(Schedule):
    """lr times a factor on the line from `start_factor` to `end_factor`: a warm-up.

    As ``torch.optim.lr_scheduler.LinearLR``; after `total_iters` steps it stays.

    Parameters
    ----------
    optimizer : Optimizer
    start_factor : float
        Above 0 and at most 1.
    end_factor : float
        Between 0 and 1.
    total_iters : int

    Raises
    ------
    TypeError, ValueError
        If a number is not of this kind.
    """

    def __init__(self, optimizer, start_factor=1 / 3, end_factor=1.0, total_iters=5):
        _check_number("start_factor", start_factor)
        _check_number("end_factor", end_factor)
        check_integer("total_iters", total_iters)
        if not 0 < start_factor <= 1:
            raise ValueError(
                f"start_factor must be above 0 and at most 1, got {start_factor}"
            )
        if not 0 <= end_factor <= 1:
            raise ValueError(f"end_factor must lie between 0 and 1, got {end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer)

    def lr_at(self, t):
        done = min(t / self.total_iters, 1)
        factor = self.start_factor + (self.end_factor - self.start_factor) * done
        return self.base_lr * factor


class SequentialLR(Schedule):
    """One schedule after another, as ``torch.optim.lr_scheduler.SequentialLR``.

    A warm-up of 5 epochs, then a cosine over the other 45::

        warmup = LinearLR(optimizer, start_factor=0.1, total_iters=5)
        cosine = CosineAnnealingLR(optimizer, T_max=45)
        schedule = SequentialLR(optimizer, [warmup, cosine], milestones=[5])

    Only `schedule` is stepped.

    Parameters
    ----------
    optimizer : Optimizer
        The same as the schedules'.
    schedulers : list of Schedule
    milestones : list of int
        Increasing; at the step milestones[i], schedulers[i + 1] begins at its t = 0.

    Raises
    ------
    ValueError
        If a schedule has another optimizer, or the milestones are not increasing and
        one fewer than the schedules.
    """

    def __init__(self, optimizer, schedulers, milestones):
        if any(schedule.optimizer is not optimizer for schedule in schedulers):
            raise ValueError("schedulers must all have the optimizer given here")
        increasing = all(a < b for a, b in itertools.pairwise([0, *milestones]))
        if len(milestones) != len(schedulers) - 1 or not increasing:
            raise ValueError(
                f"milestones must be increasing, above 0 and one fewer than the "
                f"{len(schedulers)} schedulers, got {milestones}"
            )
        self.schedulers, self.milestones = schedulers, milestones
        super().__init__(optimizer)

    def lr_at(self, t):
        index = bisect.bisect_right(self.milestones, t)
        begin = self.milestones[index - 1] if index else 0
        return self.schedulers[index].lr_at(t - begin)
