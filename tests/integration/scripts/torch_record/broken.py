"""A bug: rank 1 raises, and rank 0 waits for it in a collective."""
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record


@record
def main():
    dist.init_process_group("gloo")
    if dist.get_rank() == 1:
        raise ValueError("the learning rate is negative")
    dist.all_reduce(torch.ones(1))


main()
