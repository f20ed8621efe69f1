"""What all tests share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def torch_settings():
    """One thread, and whatever a test sets is gone after it.

    Two threads are far slower for arrays this small when the machine is busy.
    """
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
