"""Communicators within and across nodes, as hierarchical training uses them."""
import os

from mpi4py import MPI

world = MPI.COMM_WORLD
rank = world.Get_rank()
node = world.Split(color=rank // int(os.environ["LOCAL_WORLD_SIZE"]), key=rank)
across = world.Split(color=node.Get_rank(), key=rank)
print(f"rank {rank}: node {node.allgather(rank)} across {across.allgather(rank)}", flush=True)
assert node.Get_rank() == int(os.environ["LOCAL_RANK"])
node.Free()
across.Free()
