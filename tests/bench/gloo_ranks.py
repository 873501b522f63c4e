"""gloo_ranks.py WHAT ROUNDS BYTES...: a rank of gloo's all_reduce through PyTorch, timed as
collectives_mpi.cc times the others.  RANK, WORLD_SIZE and MASTER_* are in the environment."""

import json
import statistics
import sys
import time

import torch
import torch.distributed as dist


def iterations(size, ranks):
    return max(1, min(100, (96 << 20) // size // ranks))


def one_round(values, count, read):
    times = []
    result = values.clone()
    for _ in range(count):
        values.add_(1).remainder_(64)
        result.copy_(values)
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(result)
        if read:
            result.sum()
        slowest = torch.tensor([time.perf_counter() - began], dtype=torch.float64)
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        times.append(slowest.item())
    return statistics.median(times)


def main():
    what, rounds, sizes = sys.argv[1], int(sys.argv[2]), [int(word) for word in sys.argv[3:]]
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for size in sizes:
        values = (torch.arange(size // 4) + rank).remainder(64).float()
        one_round(values, 1, what == "sync")
        times = [one_round(values, iterations(size, ranks), what == "sync")
                 for _ in range(rounds)]
        if rank == 0:
            print(json.dumps({"bytes": size, "theirs": times}), flush=True)


if __name__ == "__main__":
    main()
