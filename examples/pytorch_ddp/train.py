"""Data-parallel training with PyTorch that restarts where it was.  See README.md.

What is muster's own: three lines, marked below.  Without them the script runs all the same, and with
them it also runs under torchrun.
"""
import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import muster  # muster, 1 of 3


def made_data(count=2048):
    """Points in eight dimensions, and on which side of a curved surface each lies."""
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(count, 8, generator=generator)
    return TensorDataset(points, (points[:, :4].square().sum(1) > points[:, 4:].sum(1) + 3).long())


def save(path, model, optimizer, step):
    if dist.get_rank() == 0:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step},
                   path + ".new")
        os.replace(path + ".new", path)  # There is always a whole one.
    dist.barrier()


def load(path, model, optimizer):
    """The step that the snapshot was taken after, or 0."""
    if not os.path.exists(path):
        return 0
    saved = torch.load(path, map_location="cpu")
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["step"]


def batches(options, data):
    """Endless, and the same for the same step, whatever was done before it."""
    sampler = DistributedSampler(data, seed=7)
    loader = DataLoader(data, batch_size=options.batch_size, sampler=sampler, drop_last=True)
    epoch = 0
    while True:
        sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


def train(options, device):
    torch.manual_seed(0)
    model = DistributedDataParallel(
        nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2)).to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = load(options.snapshot, model, optimizer)
    for step, (points, labels) in enumerate(batches(options, made_data()), 1):
        if step <= first:
            continue
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(points.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        muster.progress(step, loss=loss.item())  # muster, 2 of 3: `muster show JOB` draws the curve
        stop = muster.should_stop()  # muster, 3 of 3: cancelled or preempted, at one step for all
        if stop or step == options.steps or step % options.save_every == 0:
            save(options.snapshot, model, optimizer, step)
        if stop or step == options.steps:
            break
    if dist.get_rank() == 0:
        print(f"{dist.get_world_size()} ranks trained steps {first + 1} to {step}, "
              f"loss {loss.item():.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=32, help="of each rank")
    parser.add_argument("--save-every", type=int, default=20, help="steps")
    parser.add_argument("--snapshot", default="snapshot.pt")
    options = parser.parse_args()
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        dist.init_process_group("nccl")
    else:
        device = torch.device("cpu")
        dist.init_process_group("gloo")
    train(options, device)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
