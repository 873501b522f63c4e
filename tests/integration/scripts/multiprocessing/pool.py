"""Python's multiprocessing below a rank, started both ways."""
import multiprocessing
import os


def square(number):
    return number * number, os.environ["RANK"]


def main():
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            answers = pool.map(square, range(5))
        squares, ranks = zip(*answers)
        print(f"rank {os.environ['RANK']} {method}: {list(squares)} from {sorted(set(ranks))}")


if __name__ == "__main__":
    main()
