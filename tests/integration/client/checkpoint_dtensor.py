"""DTensors of torch, saved on a mesh of two by two ranks and loaded on one of four in a row.

usage: checkpoint_dtensor.py FOLDER
"""

import os
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

import muster

FOLDER = sys.argv[1]
SHAPES = {"even": (8, 6), "uneven": (5, 3), "row": (7,), "one": (1, 4), "none": (0, 3), "scalar": ()}
PLACEMENTS = {"sharded": (Shard(0), Shard(0)), "hybrid": (Replicate(), Shard(0)), "other": (Shard(0), Replicate()),
              "columns": (Replicate(), Shard(1)), "both": (Shard(1), Shard(0)), "copies": (Replicate(), Replicate())}


def whole(shape):
    torch.manual_seed(len(shape) + sum(shape))
    return torch.randn(shape)


def tensors(mesh, fill):
    """Of each shape in each of the placements that it can have, on as many dimensions as the mesh has."""
    return {f"{how}.{name}": distribute_tensor(fill(shape), mesh, placements[:mesh.ndim])
            for how, placements in PLACEMENTS.items() for name, shape in SHAPES.items()
            if all(not placement.is_shard() or placement.dim < len(shape) for placement in placements)}


def model_of(mesh):
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3, bias=False))
    for part in [*model, model]:
        fully_shard(part, mesh=mesh)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def train(model, optimizer):
    torch.manual_seed(4)
    model(torch.randn(2, 6)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def full(node):
    if isinstance(node, dict):
        return {key: full(value) for key, value in node.items()}
    return node.full_tensor() if hasattr(node, "full_tensor") else node


def same(a, b):
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def main():
    dist.init_process_group("gloo")
    first = muster.attempt() == 0
    shape = (2, 2) if first else (4,)
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard")[-len(shape):])
    model, optimizer = model_of(mesh)
    train(model, optimizer)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()["state"]}
    if first:
        assert muster.save(1, {**state, "tensors": tensors(mesh, whole)})
        assert muster.wait_saved(60) == 1
        trained = full(state)
        if muster.rank() == 0:
            torch.save(trained, os.path.join(FOLDER, "trained.pt"))
        dist.barrier()
        sys.exit(1)
    expected = torch.load(os.path.join(FOLDER, "trained.pt"))
    train(model, optimizer)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()["state"],
             "tensors": tensors(mesh, torch.zeros)}
    assert not same(full(state["model"]), expected["model"])
    assert muster.load_into(state)[0] == 1
    assert same(full({key: state[key] for key in expected}), expected)
    assert same(full(model.state_dict()), expected["model"])
    wanted = {f"{how}.{name}": whole(shape) for how in PLACEMENTS for name, shape in SHAPES.items()}
    assert len(state["tensors"]) > 25
    for name, tensor in state["tensors"].items():
        assert torch.equal(tensor.full_tensor(), wanted[name]), name
    print(f"{muster.world_size()} ranks loaded {len(state['tensors'])} DTensors right", flush=True)
    dist.destroy_process_group()


main()
