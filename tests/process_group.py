"""Runs a function in several processes of a gloo group; here, so that they import it.

The processes write what it returns into a folder; `run` collects it.
"""

import time
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

SECONDS = 150


def _enter(rank, function, args, size, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=60),
    )
    try:
        torch.save(function(rank, *args), f"{folder}/result{rank}")
    finally:
        dist.destroy_process_group()


def run(function, args, size, folder):
    """[function(rank, *args) of each process], or its error; leaves no process."""
    context = mp.spawn(
        _enter, (function, args, size, str(folder)), nprocs=size, join=False
    )
    deadline = time.monotonic() + SECONDS
    try:
        while not context.join(timeout=1):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{function.__name__} took more than {SECONDS} s")
    finally:
        for process in context.processes:
            process.kill()
            process.join()
    return [torch.load(f"{folder}/result{rank}") for rank in range(size)]


def train_sync_batchnorm(rank, cases):
    """For each case, two steps of a SyncBatchNorm on this process's shards."""
    from dropnorm.nn import SyncBatchNorm

    results = []
    for options, steps in cases:
        layer = SyncBatchNorm(3, **options).double()
        if layer.affine:
            with torch.no_grad():
                layer.weight.copy_(torch.tensor([0.5, 2.0, -1.0]))
                layer.bias.copy_(torch.tensor([1.0, 0.0, 3.0]))
        result = {"y": [], "dx": []}
        for shards in steps:
            x, dy = (t.clone() for t in shards[rank])
            x.requires_grad_()
            y = layer(x)
            y.backward(dy)
            result["y"].append(y.detach())
            result["dx"].append(x.grad)
        result["state"] = layer.state_dict()
        result["grads"] = {k: p.grad for k, p in layer.named_parameters()}
        result["eval"] = layer.eval()(steps[-1][0][0]).detach()
        results.append(result)
    return results


def provoke_sync_batchnorm(rank, shards):
    """The message of each bad batch, and the state of the layer after all of them."""
    from dropnorm.nn import SyncBatchNorm

    layer, messages = SyncBatchNorm(3).double(), []
    for batch in shards:
        try:
            layer(batch[rank])
        except ValueError as error:
            messages.append(str(error))
    return messages, layer.state_dict()


def both(rank, cases, bad):
    """One start of the processes serves both."""
    return train_sync_batchnorm(rank, cases), provoke_sync_batchnorm(rank, bad)
