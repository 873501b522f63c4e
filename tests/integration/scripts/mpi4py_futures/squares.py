"""A pool of workers over the ranks of one job: rank 0 gives out, the others work."""
from mpi4py.futures import MPICommExecutor
from mpi4py import MPI


def square(number):
    return number * number


if __name__ == "__main__":
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as pool:
        if pool is not None:
            print("squares", list(pool.map(square, range(10))))
