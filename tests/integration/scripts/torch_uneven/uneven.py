"""Ranks with unlike numbers of batches (Join), and an optimizer whose state is sharded (ZeRO-1)."""
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.join import Join
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = DistributedDataParallel(nn.Linear(4, 4))
optimizer = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=torch.optim.Adam, lr=0.01)
batches = 3 + 2 * rank
with Join([model, optimizer]):
    for _ in range(batches):
        optimizer.zero_grad()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
sums = [torch.zeros(1) for _ in range(dist.get_world_size())]
dist.all_gather(sums, sum(p.detach().sum() for p in model.parameters()).reshape(1))
shard = sum(p.numel() for group in optimizer.optim.param_groups for p in group["params"])
print(f"rank {rank}: {batches} batches, state of {shard} parameters, "
      f"{'the same' if torch.equal(*sums) else 'NOT the same'} model", flush=True)
dist.destroy_process_group()
