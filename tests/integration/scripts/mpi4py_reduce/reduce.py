"""Numbers and numpy arrays, added up by all."""
import numpy
from mpi4py import MPI

world = MPI.COMM_WORLD
rank, size = world.Get_rank(), world.Get_size()
total = world.allreduce(rank + 1)
mine = numpy.full(1000, rank, dtype=numpy.float64)
sums = numpy.empty_like(mine)
world.Allreduce(mine, sums, op=MPI.SUM)
largest = world.allreduce(rank, op=MPI.MAX)
print(f"rank {rank} of {size}: {total} {sums.min():g} {sums.max():g} {largest}", flush=True)
