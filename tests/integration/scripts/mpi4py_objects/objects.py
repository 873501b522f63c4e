"""Pickled objects: scatter, gather, broadcast; no process is spawned."""
from mpi4py import MPI

world = MPI.COMM_WORLD
rank, size = world.Get_rank(), world.Get_size()
settings = world.bcast({"factor": 3, "words": ["a", "b"]} if rank == 0 else None, root=0)
share = world.scatter([list(range(i, 12, size)) for i in range(size)] if rank == 0 else None, root=0)
answers = world.gather([settings["factor"] * number for number in share], root=0)
if rank == 0:
    print("shares", [len(answer) for answer in answers], "answers", sorted(sum(answers, [])))
world.barrier()
status = MPI.Status()
if rank == 0:
    for _ in range(size - 1):
        text = world.recv(source=MPI.ANY_SOURCE, tag=5, status=status)
        assert text == f"from {status.Get_source()}", text
    print("heard from all")
else:
    world.isend(f"from {rank}", dest=0, tag=5).wait()
