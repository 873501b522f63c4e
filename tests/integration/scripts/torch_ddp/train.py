"""Data-parallel training of a small classifier, as PyTorch's tutorial has it: DistributedSampler, DDP over
gloo, a checkpoint by rank 0, which all load again.  The data are made here."""
import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def made_data(count):
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(count, 8, generator=generator)
    return TensorDataset(points, (points[:, :4].sum(1) > points[:, 4:].sum(1)).long())


def train(options):
    rank = dist.get_rank()
    torch.manual_seed(rank)  # DDP hands rank 0's parameters to all.
    model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    data = made_data(1024)
    sampler = DistributedSampler(data, shuffle=True, seed=7)
    loader = DataLoader(data, batch_size=options.batch_size, sampler=sampler)
    for epoch in range(options.epochs):
        sampler.set_epoch(epoch)
        seen = 0
        for points, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(points), labels).backward()
            optimizer.step()
            seen += len(labels)
    if rank == 0:
        torch.save({"model": model.module.state_dict(), "epoch": epoch}, options.checkpoint)
    dist.barrier()
    saved = torch.load(options.checkpoint, map_location="cpu")
    same = all(torch.equal(saved["model"][name], value)
               for name, value in model.module.state_dict().items())
    with torch.no_grad():
        points, labels = data.tensors
        right = (model(points).argmax(1) == labels).float().mean().item()
    sums = [None] * dist.get_world_size()
    dist.all_gather_object(sums, sum(p.double().sum().item() for p in model.parameters()))
    print(f"rank {rank} of {dist.get_world_size()}: {seen} samples an epoch, checkpoint of epoch "
          f"{saved['epoch']} {'is' if same else 'IS NOT'} the model, ranks "
          f"{'agree' if len(set(sums)) == 1 else 'DIFFER'}, "
          f"{'learned' if right > 0.95 else 'did NOT learn'}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--checkpoint", default="model.pt")
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    train(parser.parse_args())
    dist.destroy_process_group()
