"""pi by throwing darts: every rank its share, rank 0 adds up.  See README.md."""
import argparse
import random

from mpi4py import MPI


def hits(darts, seed):
    dice = random.Random(seed)
    return sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(darts))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--darts", type=int, default=1000000, help="in all (%(default)s)")
    options = parser.parse_args()

    world = MPI.COMM_WORLD
    rank, size = world.Get_rank(), world.Get_size()
    mine = len(range(rank, options.darts, size))
    total = world.reduce(hits(mine, seed=rank), op=MPI.SUM, root=0)
    if rank == 0:
        print(f"{size} ranks threw {options.darts} darts: pi is about "
              f"{4 * total / options.darts:.3f}")


if __name__ == "__main__":
    main()
