"""TCPStore by hand, then a process group over it, without env://."""
import os
from datetime import timedelta

import torch
import torch.distributed as dist

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), size, rank == 0,
                      timedelta(seconds=60))
store.set(f"name{rank}", f"rank {rank}")
names = [store.get(f"name{other}").decode() for other in range(size)]
count = store.add("count", 1)
store.wait(["count"])
dist.init_process_group("gloo", store=dist.PrefixStore("group", store), rank=rank, world_size=size)
tensor = torch.tensor([count])
dist.all_reduce(tensor)
print(f"rank {rank}: {names}, counts add up to {tensor.item()}", flush=True)
dist.barrier()
