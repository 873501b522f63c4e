"""An elastic script, as torchrun's manual wants it: it saves a snapshot after every epoch, and goes on from
the last one when it is started again.  Rank 1 dies once, in epoch 2."""
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import record
from torch.nn.parallel import DistributedDataParallel

EPOCHS, SNAPSHOT = 4, "snapshot.pt"


@record
def main():
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = 0
    if os.path.exists(SNAPSHOT):
        snapshot = torch.load(SNAPSHOT)
        model.module.load_state_dict(snapshot["model"])
        first = snapshot["epoch"] + 1
    for epoch in range(first, EPOCHS):
        if rank == 1 and epoch == 2 and restarts == 0:
            os.kill(os.getpid(), 9)
        optimizer.zero_grad()
        model(torch.ones(2, 4) * (rank + 1)).sum().backward()
        optimizer.step()
        if rank == 0:
            torch.save({"model": model.module.state_dict(), "epoch": epoch}, SNAPSHOT + ".new")
            os.replace(SNAPSHOT + ".new", SNAPSHOT)
        dist.barrier()
    print(f"rank {rank}: start {restarts} of at most {os.environ['TORCHELASTIC_MAX_RESTARTS']} "
          f"restarts began with epoch {first} and ended with {epoch}", flush=True)
    dist.destroy_process_group()


main()
