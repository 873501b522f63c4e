"""torch.distributed, one collective after another, over gloo."""
import os
from datetime import timedelta

import torch
import torch.distributed as dist


def main():
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, size = dist.get_rank(), dist.get_world_size()
    assert (rank, size) == (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    done = []

    def check(name, right):
        assert right, name
        done.append(name)

    tensor = torch.tensor([float(rank + 1)])
    dist.all_reduce(tensor)
    check("all_reduce", tensor.item() == size * (size + 1) / 2)

    gathered = [torch.zeros(2, dtype=torch.int64) for _ in range(size)]
    dist.all_gather(gathered, torch.tensor([rank, rank * rank]))
    check("all_gather", [pair.tolist() for pair in gathered] == [[r, r * r] for r in range(size)])

    tensor = torch.full((3,), float(rank))
    dist.broadcast(tensor, src=1)
    check("broadcast", tensor.tolist() == [1.0] * 3)

    tensor = torch.tensor([rank])
    if rank == 0:
        dist.send(tensor + 40, dst=size - 1)
    elif rank == size - 1:
        dist.recv(tensor, src=0)
    check("send and recv", tensor.item() == (40 if rank == size - 1 else rank))

    mine = torch.zeros(1, dtype=torch.int64)
    dist.scatter(mine, [torch.tensor([10 * r]) for r in range(size)] if rank == 0 else None, src=0)
    check("scatter", mine.item() == 10 * rank)

    tensor = torch.tensor([rank])
    dist.reduce(tensor, dst=0, op=dist.ReduceOp.MAX)
    check("reduce", rank != 0 or tensor.item() == size - 1)

    groups = [dist.new_group(list(range(parity, size, 2))) for parity in (0, 1)]
    tensor = torch.tensor([rank])
    dist.all_reduce(tensor, group=groups[rank % 2])
    check("new_group", tensor.item() == sum(range(rank % 2, size, 2)))

    objects = [None] * size
    dist.all_gather_object(objects, {"rank": rank})
    check("all_gather_object", objects == [{"rank": r} for r in range(size)])

    work = dist.isend(torch.tensor([rank]), (rank + 1) % size)
    tensor = torch.zeros(1, dtype=torch.int64)
    dist.irecv(tensor, (rank - 1) % size).wait()
    work.wait()
    check("isend and irecv", tensor.item() == (rank - 1) % size)

    dist.barrier()
    dist.monitored_barrier(timeout=timedelta(seconds=60))
    check("barriers", True)
    print(f"rank {rank}: {', '.join(done)}", flush=True)
    dist.destroy_process_group()


main()
