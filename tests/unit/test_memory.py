"""Batches that do not fit are halved, other errors are not taken for that."""

import pytest
import torch

from prh.models.memory import Halving


class Greedy:
    """Runs out of memory with more than two samples at once."""

    def __init__(self):
        self.failed = []

    def __call__(self, batch):
        if len(batch) > 2:
            self.failed.append(len(batch))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return [torch.tensor(batch)]


def test_out_of_memory_halves_the_batch_and_the_size_is_not_tried_again():
    greedy = Greedy()
    encode = Halving(greedy)
    assert encode(list(range(9)))[0].tolist() == list(range(9))
    assert greedy.failed == [9, 4, 3]
    assert encode(list(range(9)))[0].tolist() == list(range(9))
    assert greedy.failed == [9, 4, 3]


def test_other_errors_are_not_taken_for_memory():
    def broken(batch):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Halving(broken)([1, 2])


def test_memory_that_never_suffices_is_told():
    def hungry(batch):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        Halving(hungry)([1, 2, 3])
