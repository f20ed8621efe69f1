"""One network that computes what the networks of S seeds compute."""

import copy
import functools

import torch
import torch.nn.functional as F
from torch import nn

import dropnorm.nn


class CannotJoinError(Exception):
    """The seeds must be trained one after another; the message says why."""


def seeds_first(x, n_seeds, axis):
    """A view (S, N, C, ...) of (N, S·C, ...), or (S, N, T, C) of (N, T, S·C)."""
    x = x.unflatten(axis, (n_seeds, -1))
    return x.movedim(1 if axis == 1 else -2, 0)


def side_by_side(parts, axis):
    """The inverse of `seeds_first`."""
    if axis == 1:
        return parts.movedim(0, 1).flatten(1, 2)
    return parts.movedim(0, -2).flatten(-2, -1)


def inverted_mask(x, shape, p, generators):
    """What dropout multiplies by, (S, *shape): 0 with probability p, else 1/(1 − p)."""
    kept = torch.empty(len(generators), *shape, dtype=torch.float64)
    for part, generator in zip(kept, generators, strict=True):
        if _bernoulli_is_uniform():  # then this takes half the time
            part.uniform_(generator=generator).lt_(1 - p)
        else:
            part.bernoulli_(1 - p, generator=generator)
    return kept.to(x.dtype).div_(1 - p)


@functools.cache
def _bernoulli_is_uniform():
    """Whether ``bernoulli_(q)`` is ``uniform_() < q`` in float64, bit for bit.

    It is not where PyTorch leaves it to MKL, as older versions do on Intel's CPUs.
    """
    drawn, uniform = torch.empty(2, 99, dtype=torch.float64)
    drawn.bernoulli_(0.3, generator=torch.Generator().manual_seed(0))
    uniform.uniform_(generator=torch.Generator().manual_seed(0))
    return torch.equal(drawn, uniform.lt_(0.3))


class _Linear(nn.Linear):
    def forward(self, x):
        if x.ndim > 2:  # features last; the rest is examples, contiguous as in torch
            rows = self.forward(x.flatten(0, -2))
            return rows.contiguous().unflatten(0, x.shape[:-1])
        n_seeds = len(self.generators)
        weight = self.weight.unflatten(0, (n_seeds, -1))  # (S, out, in)
        x = x.t().unflatten(0, (n_seeds, -1))  # (S, in, N)
        if self.bias is None:
            y = weight @ x
        else:
            bias = self.bias.unflatten(0, (n_seeds, -1)).unsqueeze(2)
            y = torch.baddbmm(bias, weight, x)
        return y.flatten(0, 1).t()


class _Embedding(nn.Embedding):
    def forward(self, x):
        if self.padding_idx is not None or self.max_norm is not None or self.sparse:
            raise CannotJoinError("Embedding has options that are not batched")
        n_seeds = len(self.generators)
        tokens = seeds_first(x, n_seeds, 1)  # (S, N, T)
        first_row = torch.arange(n_seeds) * self.num_embeddings
        rows = F.embedding(tokens + first_row[:, None, None], self.weight)
        return side_by_side(rows, self.seed_axis)


class _BatchNorm1d(nn.BatchNorm1d):
    def forward(self, x):
        if x.ndim == 3:
            return super().forward(x)
        # (1, S·C, N) gives the same numbers, along the memory that _Linear left.
        return super().forward(x.t().unsqueeze(0)).squeeze(0).t()


class _LayerNorm(nn.LayerNorm):
    def forward(self, x):
        # The first of the normalized dimensions holds the seeds.
        axis, n_seeds = -len(self.normalized_shape), len(self.generators)
        x = x.unflatten(axis, (n_seeds, -1))  # (..., S, C, ...)
        y = F.layer_norm(x, self.normalized_shape, eps=self.eps)
        if self.weight is not None:
            y = y * self.weight.unflatten(0, (n_seeds, -1))
        if self.bias is not None:
            y = y + self.bias.unflatten(0, (n_seeds, -1))
        return y.flatten(axis - 1, axis)


class _Dropout(nn.Dropout):
    def forward(self, x):
        if not self.training or self.p in (0, 1):
            return super().forward(x)  # draws nothing
        scale = torch.empty_like(x)
        parts = seeds_first(scale, len(self.generators), self.seed_axis)
        # PyTorch draws a mask in the memory order of its input. A recurrent layer's
        # output has another than its shape says; so may the matrix that _Linear left,
        # but that of a single seed has not.
        order = range(1, parts.ndim)
        if self.seed_axis == -1 and x.ndim > 2:
            order = sorted(order, key=parts.stride, reverse=True)
        shape = [parts.shape[d] for d in order]
        mask = inverted_mask(x, shape, self.p, self.generators)
        parts.copy_(mask.movedim(tuple(range(1, parts.ndim)), tuple(order)))
        return x * scale


class _ChannelDropout(nn.Module):
    """Whole channels of (N, S·C, ...)."""

    def forward(self, x):
        if not self.training or self.p in (0, 1):
            return super().forward(x)  # draws nothing
        n_seeds = len(self.generators)
        shape = len(x), x.shape[1] // n_seeds
        mask = side_by_side(inverted_mask(x, shape, self.p, self.generators), 1)
        return x * mask.reshape(*mask.shape, *[1] * (x.ndim - 2))


class _PReLU(nn.PReLU):
    def forward(self, x):
        repeats = x.shape[1] // self.weight.numel()
        return F.prelu(x, self.weight.repeat_interleave(repeats))


class _Flatten(nn.Flatten):
    def forward(self, x):
        parts = seeds_first(x, len(self.generators), self.seed_axis)
        # a dimension counted from the front is one further back in the parts
        start, end = (d + (d >= 0) for d in (self.start_dim, self.end_dim))
        return side_by_side(parts.flatten(start, end), self.seed_axis)


class _Unflatten(nn.Unflatten):
    def forward(self, x):
        parts = seeds_first(x, len(self.generators), self.seed_axis)
        parts = parts.unflatten(self.dim + (self.dim >= 0), self.unflattened_size)
        return side_by_side(parts, self.seed_axis)


class _Recurrent(nn.Module):
    """All seeds in each step of an explicit loop over time, in torch's equations."""

    def forward(self, x, state=None):
        if self.proj_size:
            raise CannotJoinError(f"{self.mode} has options that are not batched")
        n_seeds = len(self.generators)
        if self.batch_first:
            x = x.transpose(0, 1)
        x = seeds_first(x, n_seeds, -1)  # (S, T, N, C)
        initial = self._initial(x, state)
        finals = []
        for layer in range(self.num_layers):
            outputs = []
            for suffix in ("", "_reverse")[: 1 + self.bidirectional]:
                weights = [
                    self._weight(f"{name}_l{layer}{suffix}")
                    for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
                ]
                start = [part[len(finals)] for part in initial]
                y, final = self._scan(x.flip(1) if suffix else x, *weights, start)
                outputs.append(y.flip(1) if suffix else y)
                finals.append(final)
            x = torch.cat(outputs, dim=3)
            if self.training and 0 < self.dropout < 1 and layer + 1 < self.num_layers:
                x = x * inverted_mask(x, x.shape[1:], self.dropout, self.generators)
        y = side_by_side(x, -1)  # (T, N, S·H)
        last = [
            side_by_side(torch.stack(part, dim=1), -1)  # (layers, N, S·H)
            for part in zip(*finals, strict=True)
        ]
        last = tuple(last) if len(last) == 2 else last[0]
        return (y.transpose(0, 1) if self.batch_first else y), last

    def _weight(self, name):
        """A weight as (S, in, out), a bias as (S, 1, out)."""
        value = getattr(self, name, None)
        if value is None:
            return value
        value = value.unflatten(0, (len(self.generators), -1))
        return value.transpose(1, 2) if value.ndim == 3 else value.unsqueeze(1)

    def _initial(self, x, state):
        """The parts of the state, h or h and c, each (layers, S, N, H)."""
        n_parts = 2 if self.mode == "LSTM" else 1
        if state is None:
            n_layers = self.num_layers * (1 + self.bidirectional)
            zeros = x.new_zeros(n_layers, len(x), x.shape[2], self.hidden_size)
            return [zeros] * n_parts
        parts = state if n_parts == 2 else [state]
        return [seeds_first(part, len(x), -1).transpose(0, 1) for part in parts]

    def _state_mask(self, x):
        """What multiplies the state wherever it meets ``weight_h``, if anything."""
        return None

    def _scan(self, x, weight_x, bias_x, weight_h, bias_h, state):
        mask = self._state_mask(x)
        if self.bias:
            inputs = torch.baddbmm(bias_x, x.flatten(1, 2), weight_x)
        else:
            inputs = x.flatten(1, 2) @ weight_x
        outputs = []
        for step in inputs.unflatten(1, x.shape[1:3]).unbind(1):
            h = state[0] if mask is None else mask * state[0]
            if self.bias:
                recurrent = torch.baddbmm(bias_h, h, weight_h)
            else:
                recurrent = h @ weight_h
            state = self._cell(step, recurrent, state)
            outputs.append(state[0])
        return torch.stack(outputs, dim=1), state


class _RNN(_Recurrent, nn.RNN):
    def _cell(self, step, recurrent, state):
        function = torch.tanh if self.nonlinearity == "tanh" else torch.relu
        return [function(step + recurrent)]


class _GRU(_Recurrent, nn.GRU):
    def _cell(self, step, recurrent, state):
        size = [2 * self.hidden_size, self.hidden_size]
        step_rz, step_n = step.split(size, dim=2)
        recurrent_rz, recurrent_n = recurrent.split(size, dim=2)
        r, z = torch.sigmoid(step_rz + recurrent_rz).chunk(2, dim=2)
        n = torch.tanh(step_n + r * recurrent_n)
        return [n + z * (state[0] - n)]


class _LSTM(_Recurrent, nn.LSTM):
    def _cell(self, step, recurrent, state):
        i, f, g, o = (step + recurrent).chunk(4, dim=2)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(c), c]


class _Variational(_Recurrent):
    def _state_mask(self, x):
        if not self.training or self.p == 0:
            return None
        if self.batch_first:
            x = x.transpose(1, 2)
        draws = zip(x, self.generators, strict=True)
        return torch.stack([self.sample(part, generator) for part, generator in draws])


class _VariationalGRU(_Variational, _GRU, dropnorm.nn.VariationalGRU):
    pass


class _VariationalLSTM(_Variational, _LSTM, dropnorm.nn.VariationalLSTM):
    pass


def _noise(kind):
    """A batched form of a layer that multiplies its input by what `sample` draws."""

    def sample(self, x, generator=None):
        parts = seeds_first(x, len(self.generators), self.seed_axis)
        draws = zip(parts, self.generators, strict=True)
        masks = torch.stack([kind.sample(self, *draw) for draw in draws])
        return side_by_side(masks.expand_as(parts), self.seed_axis)

    return type(f"_{kind.__name__}", (kind,), {"sample": sample})


def in_turn(kind):
    """A batched form of any layer from one tensor to one, without layers inside it.

    Each seed in turn, with its parameters and buffers, and with PyTorch's global
    generator in its state. No faster than separate training, as the layers around
    it are.
    """

    def forward(self, x):
        n_seeds = len(self.generators)
        parameters, buffers = self._parameters, self._buffers
        outside, outputs = torch.get_rng_state(), []
        parts = seeds_first(x, n_seeds, self.seed_axis)
        try:
            for s, (part, generator) in enumerate(
                zip(parts, self.generators, strict=True)
            ):
                self._parameters = _part_of(parameters, s, n_seeds)
                part_of = _part_of(buffers, s, n_seeds)
                # Copies: autograd may keep them, and the whole is written to below.
                self._buffers = {
                    k: None if v is None else v.clone() for k, v in part_of.items()
                }
                torch.set_rng_state(generator.get_state())
                outputs.append(kind.forward(self, part.contiguous()))
                generator.set_state(torch.get_rng_state())
                for name, value in self._buffers.items():
                    if value is not None and value.ndim:
                        whole = buffers[name].unflatten(0, (n_seeds, -1))
                        whole[s] = value.detach()
            counts = {k: v for k, v in self._buffers.items() if v is not None}
        finally:
            self._parameters, self._buffers = parameters, buffers
            torch.set_rng_state(outside)
        for name, value in counts.items():
            if not value.ndim:  # the same for all seeds
                buffers[name].copy_(value)
        return side_by_side(torch.stack(outputs), self.seed_axis)

    return type(f"_{kind.__name__}", (kind,), {"forward": forward})


def _part_of(tensors, s, n_seeds):
    """Those of seed s: views, and copies of what has no dimension."""
    return {
        name: value
        if value is None
        else value.unflatten(0, (n_seeds, -1))[s]
        if value.ndim
        else value.clone()
        for name, value in tensors.items()
    }


def _by_channel(kind, *counts):
    """As it is, once what it has of these is counted for all seeds."""
    return type(f"_{kind.__name__}", (kind,), {"counts": counts})


# To batch another type of layer, add a subclass whose forward takes (N, S·C, ...),
# reads the joined parameters (dimension 0 is S times as long) and draws for seed s
# from self.generators[s]. Or, where that gains nothing, in_turn(type).
BATCHED = {
    nn.Linear: _Linear,
    nn.Embedding: _Embedding,
    nn.Conv1d: _by_channel(nn.Conv1d, "groups"),
    nn.Conv2d: _by_channel(nn.Conv2d, "groups"),
    nn.BatchNorm1d: _BatchNorm1d,
    nn.BatchNorm2d: _by_channel(nn.BatchNorm2d),
    nn.GroupNorm: _by_channel(nn.GroupNorm, "num_groups"),
    nn.InstanceNorm1d: _by_channel(nn.InstanceNorm1d, "num_features"),
    nn.InstanceNorm2d: _by_channel(nn.InstanceNorm2d, "num_features"),
    nn.LayerNorm: _LayerNorm,
    nn.PReLU: _PReLU,
    nn.Flatten: _Flatten,
    nn.Unflatten: _Unflatten,
    nn.RNN: _RNN,
    nn.GRU: _GRU,
    nn.LSTM: _LSTM,
    nn.Dropout: _Dropout,
    nn.Dropout1d: type("_Dropout1d", (_ChannelDropout, nn.Dropout1d), {}),
    nn.Dropout2d: type("_Dropout2d", (_ChannelDropout, nn.Dropout2d), {}),
    nn.AlphaDropout: in_turn(nn.AlphaDropout),
    nn.FeatureAlphaDropout: in_turn(nn.FeatureAlphaDropout),
    nn.RReLU: in_turn(nn.RReLU),
    dropnorm.nn.BatchRenorm1d: in_turn(dropnorm.nn.BatchRenorm1d),
    dropnorm.nn.BatchRenorm2d: in_turn(dropnorm.nn.BatchRenorm2d),
    dropnorm.nn.DropBlock2d: _noise(dropnorm.nn.DropBlock2d),
    dropnorm.nn.DropConnectLinear: in_turn(dropnorm.nn.DropConnectLinear),
    dropnorm.nn.GaussianDropout: _noise(dropnorm.nn.GaussianDropout),
    dropnorm.nn.GhostBatchNorm1d: in_turn(dropnorm.nn.GhostBatchNorm1d),
    dropnorm.nn.GhostBatchNorm2d: in_turn(dropnorm.nn.GhostBatchNorm2d),
    dropnorm.nn.OriginalDropout: _noise(dropnorm.nn.OriginalDropout),
    dropnorm.nn.StochasticDepth: _noise(dropnorm.nn.StochasticDepth),
    dropnorm.nn.VariationalDropout: _noise(dropnorm.nn.VariationalDropout),
    dropnorm.nn.VariationalGRU: _VariationalGRU,
    dropnorm.nn.VariationalLSTM: _VariationalLSTM,
}


def join(models, states, seed_axis):
    """One network that does for all seeds what each of ``models`` does for one.

    A deep copy of the first model, with each parameter and buffer replaced by that
    of all models and each layer's class by its batched form. So modules used twice,
    tied parameters and a custom ``forward`` keep their meaning.
    """
    joined = {}
    for layers in zip(*(model.modules() for model in models), strict=True):
        first = layers[0]
        kind = type(first).__name__
        names = [*first._parameters, *first._buffers]
        tensors = {name: [getattr(layer, name) for layer in layers] for name in names}
        tensors = {k: v for k, v in tensors.items() if v[0] is not None}
        if tensors and type(first) not in BATCHED:
            raise CannotJoinError(f"{kind} has parameters or buffers of its own")
        if first._forward_hooks or first._forward_pre_hooks or first._backward_hooks:
            raise CannotJoinError(f"{kind} has hooks")
        for values in tensors.values():
            # A count of batches (0-d) is the same for all seeds.
            whole = torch.cat(values) if values[0].ndim else values[0].clone()
            if isinstance(values[0], nn.Parameter):
                whole = nn.Parameter(whole.detach(), values[0].requires_grad)
            joined[id(values[0])] = whole
    network = copy.deepcopy(models[0], joined)  # takes `joined` for copies made
    network.seed_axis = seed_axis
    generators = [torch.Generator().set_state(state) for state in states]
    for layer in network.modules():
        if type(layer) in BATCHED:
            layer.__class__ = BATCHED[type(layer)]
            layer.generators, layer.seed_axis = generators, seed_axis
            for name in getattr(layer, "counts", ()):
                setattr(layer, name, getattr(layer, name) * len(states))
    return network
