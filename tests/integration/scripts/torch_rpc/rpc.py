"""torch.distributed.rpc over TensorPipe: the trainer asks the server for squares."""
import os

import torch
from torch.distributed import rpc


def square(tensor):
    return tensor * tensor


class Counter:
    def __init__(self):
        self.count = 0

    def add(self, more):
        self.count += more
        return self.count


if __name__ == "__main__":
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    rpc.init_rpc(f"worker{rank}", rank=rank, world_size=size,
                 rpc_backend_options=rpc.TensorPipeRpcBackendOptions(init_method="env://"))
    if rank == 0:
        print("sync", rpc.rpc_sync("worker1", square, args=(torch.arange(4),)).tolist())
        counter = rpc.remote("worker1", Counter)
        counter.rpc_sync().add(2)
        print("remote", counter.rpc_async().add(3).wait())
    rpc.shutdown()
