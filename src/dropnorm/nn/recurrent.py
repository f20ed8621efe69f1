"""Dropout for sequences: one mask for all time steps."""

import torch
import torch.nn.functional as F
from torch import nn

from dropnorm.layers.base import check_integer
from dropnorm.layers.dropout import check_probability
from dropnorm.nn.dropout import (
    RandomLayer,
    _MultiplicativeNoise,
    check_float_tensor,
    inverted_mask,
)


def _check_sequences(x, batch_first):
    check_float_tensor("x", x)
    if x.dim() != 3:
        shape = "(N, T, C)" if batch_first else "(T, N, C)"
        raise ValueError(f"x must have shape {shape}, got {tuple(x.shape)}")


class VariationalDropout(_MultiplicativeNoise):
    """Inverted dropout that drops the same features at every step of a sequence.

    For the inputs and outputs of recurrent layers; also known as locked dropout. Each
    call draws a mask for each sequence. Evaluation is the identity.

    Parameters
    ----------
    p : float
        Probability to drop a feature, between 0 and 1.
    batch_first : bool
        Whether the input is (N, T, C) or (T, N, C). Unlike that of ``torch.nn.GRU`` the
        default is True, here and in `VariationalGRU` and `VariationalLSTM`.

    Shapes
    ------
    Input and output (N, T, C): sequences, steps, features.

    Raises
    ------
    TypeError, ValueError
        If `p` is not a number between 0 and 1, or the input not such a float tensor.

    References
    ----------
    Gal and Ghahramani (2016), A Theoretically Grounded Application of Dropout in
    Recurrent Neural Networks. NIPS 29.
    """

    def __init__(self, p=0.5, batch_first=True):
        super().__init__(p)
        self.batch_first = batch_first

    def _check_input(self, x):
        _check_sequences(x, self.batch_first)

    def sample(self, x, generator=None):
        """m of shape (N, 1, C), or (1, N, C) if not `batch_first`."""
        shape = list(x.shape)
        shape[1 if self.batch_first else 0] = 1
        return inverted_mask(x, shape, self.p, generator)


class _VariationalRecurrence(RandomLayer):
    """What the two recurrent layers share: the mask and the loop over the steps.

    A subclass derives from ``torch.nn.GRU`` or ``LSTM`` as well, whose parameters,
    initialization and evaluation it keeps, and defines `_step`.
    """

    def __init__(self, input_size, hidden_size, bias=True, batch_first=True, p=0.5):
        check_integer("input_size", input_size)
        check_integer("hidden_size", hidden_size)
        check_probability(p)
        super().__init__(input_size, hidden_size, bias=bias, batch_first=batch_first)
        self.p = p

    def sample(self, x, generator=None):
        """m of shape (N, hidden_size), for an input of the shape of `x`."""
        n_sequences = x.shape[0 if self.batch_first else 1]
        return inverted_mask(x, (n_sequences, self.hidden_size), self.p, generator)

    def _step(self, gates_x, gates_h, state):
        raise NotImplementedError(f"{type(self).__name__} defines no _step")

    def forward(self, x, hx=None):
        _check_sequences(x, self.batch_first)
        if x.shape[2] != self.input_size:
            raise ValueError(
                f"x must have input_size = {self.input_size} features on its last "
                f"axis, got shape {tuple(x.shape)}"
            )
        n_sequences = x.shape[0 if self.batch_first else 1]
        states = self._initial_states(x, hx, (1, n_sequences, self.hidden_size))
        if not self.training or self.p == 0:
            return super().forward(x, hx)

        mask = self.sample(x)
        time = 1 if self.batch_first else 0
        bias_x = self.bias_ih_l0 if self.bias else None
        bias_h = self.bias_hh_l0 if self.bias else None
        outputs = []
        for gates_x in F.linear(x, self.weight_ih_l0, bias_x).unbind(time):
            gates_h = F.linear(mask * states[0], self.weight_hh_l0, bias_h)
            states = self._step(gates_x, gates_h, states)
            outputs.append(states[0])
        return torch.stack(outputs, time), self._final_states(states)

    def extra_repr(self):
        return f"{super().extra_repr()}, p={self.p}"


def _without_layer_axis(name, state, shape):
    """The initial state (N, H), from (1, N, H), which is checked."""
    check_float_tensor(name, state)
    if state.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(state.shape)}")
    return state[0]


class VariationalGRU(_VariationalRecurrence, nn.GRU):
    """``torch.nn.GRU`` of one layer with one dropout mask on its state.

    Training: one mask m for each sequence, drawn at each call, multiplies the state
    wherever it meets the recurrent weights, at all steps:

        r = σ(W_ir x + b_ir + W_hr (m ⊙ h) + b_hr),   z likewise,
        n = tanh(W_in x + b_in + r ⊙ (W_hn (m ⊙ h) + b_hn)),
        h' = (1 − z) ⊙ n + z ⊙ h.

    The h of the last line has no mask: there a factor of 1/(1 − p) would come in anew
    at every step. Evaluation is ``torch.nn.GRU``, and so are the parameters' names. For
    inputs and outputs see `VariationalDropout`.

    Parameters
    ----------
    input_size, hidden_size : int
    bias, batch_first : bool
        Unlike that of ``torch.nn.GRU``, `batch_first` is True by default.
    p : float
        Probability to drop a unit of the state, between 0 and 1.

    Shapes
    ------
    Input (N, T, input_size), and optionally the first state (1, N, hidden_size).
    Outputs (N, T, hidden_size) and the last state (1, N, hidden_size).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Gal and Ghahramani (2016), as above.
    """

    def _initial_states(self, x, hx, shape):
        hx = x.new_zeros(shape) if hx is None else hx
        return (_without_layer_axis("hx", hx, shape),)

    def _step(self, gates_x, gates_h, states):
        (h,) = states
        r_x, z_x, n_x = gates_x.chunk(3, dim=1)
        r_h, z_h, n_h = gates_h.chunk(3, dim=1)
        r = torch.sigmoid(r_x + r_h)
        z = torch.sigmoid(z_x + z_h)
        n = torch.tanh(n_x + r * n_h)
        return ((1 - z) * n + z * h,)

    def _final_states(self, states):
        return states[0].unsqueeze(0)


class VariationalLSTM(_VariationalRecurrence, nn.LSTM):
    """``torch.nn.LSTM`` of one layer with one dropout mask on its state h.

    Training: one mask m for each sequence, drawn at each call, multiplies h wherever it
    meets the recurrent weights, at all steps and the same for the four gates; the cell
    c has no mask:

        i, f, o = σ(W x + b + U (m ⊙ h) + b'),   g = tanh(likewise),
        c' = f ⊙ c + i ⊙ g,   h' = o ⊙ tanh(c').

    Evaluation is ``torch.nn.LSTM``, and so are the parameters' names. For inputs and
    outputs see `VariationalDropout`.

    Parameters
    ----------
    input_size, hidden_size : int
    bias, batch_first : bool
        Unlike that of ``torch.nn.LSTM``, `batch_first` is True by default.
    p : float
        Probability to drop a unit of h, between 0 and 1.

    Shapes
    ------
    Input (N, T, input_size), and optionally the first state, a pair (h, c) of shape
    (1, N, hidden_size) each. Outputs (N, T, hidden_size) and the last state (h, c).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Gal and Ghahramani (2016): the form with tied weights.
    """

    def _initial_states(self, x, hx, shape):
        hx = (x.new_zeros(shape), x.new_zeros(shape)) if hx is None else hx
        if not isinstance(hx, tuple) or len(hx) != 2:
            raise TypeError(f"hx must be a pair (h, c), got {type(hx).__name__}")
        return tuple(
            _without_layer_axis(name, state, shape)
            for name, state in zip(("h of hx", "c of hx"), hx, strict=True)
        )

    def _step(self, gates_x, gates_h, states):
        _, c = states
        i, f, g, o = (gates_x + gates_h).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def _final_states(self, states):
        h, c = states
        return h.unsqueeze(0), c.unsqueeze(0)
