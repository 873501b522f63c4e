"""A program that forks workers which talk back through pipes, as a data loader does."""
import os


def worker(index, pipe):
    os.write(pipe, f"{index * index},".encode())
    os._exit(index)


def main():
    reader, writer = os.pipe()
    children = {}
    for index in range(4):
        pid = os.fork()
        if pid == 0:
            worker(index, writer)
        children[pid] = index
    os.close(writer)
    squares = b""
    while piece := os.read(reader, 100):
        squares += piece
    statuses = {}
    while children:
        pid, status = os.wait()
        statuses[children.pop(pid)] = os.waitstatus_to_exitcode(status)
    print("rank", os.environ["RANK"], "squares",
          sorted(int(word) for word in squares.decode().split(",") if word),
          "statuses", [statuses[index] for index in range(4)], flush=True)


main()
