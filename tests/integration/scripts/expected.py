"""What a program must print, as a file `expect` in its folder says:

    group: torch                    in which run of this test it is
    from: examples/c_mpi            the program lies there, and its README.md says how it is run
    needs: torch                    skipped, with what is missing, where that is not there
    build: mpicc -O1 -o pi pi.c     before; may be repeated
    run: torchrun ... ddp.py        `muster` of this; it starts in a copy of the folder
    exit: 0
    out 4: loss [0-9.]+             so many lines of stdout are this, as a whole, without the rank
    err 1: rank 1 .* status 3       so many lines of stderr hold this
    gone: *.pid                     afterwards no process has the number that such a file holds

Every line of stdout must be one that is expected, and every line expected must come as often as said.
"""

import os
import re
import shlex

ROOT = os.path.abspath(os.path.join(__file__, "..", "..", "..", ".."))


class Expect:
    """What the file of that name says."""

    def __init__(self, folder):
        self.name, self.place = os.path.basename(folder), folder
        self.group, self.needs, self.builds, self.readme = "", [], [], ""
        self.run, self.exit, self.out, self.err, self.gone = [], 0, [], [], []
        with open(os.path.join(folder, "expect"), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not line.startswith("#"):
                    self._take(line.rstrip("\n"), f"{folder}/expect:{number}")

    def _take(self, line, where):
        key, colon, value = line.partition(": ")
        key, *count = key.split()
        if not colon or key not in ("group", "from", "needs", "build", "run", "exit", "out", "err", "gone"):
            raise ValueError(f"{where}: '{line}'")
        if key == "from":
            self.place = os.path.join(ROOT, value)
            with open(os.path.join(self.place, "README.md"), encoding="utf-8") as file:
                self.readme = file.read()
        elif self.readme and key in ("build", "run") and value not in self.readme:
            raise ValueError(f"{where}: not in the README: {value}")
        if key == "group":
            self.group = value
        elif key == "exit":
            self.exit = int(value)
        elif key in ("out", "err"):
            getattr(self, key).append((int(count[0]), re.compile(value)))
        elif key == "build":
            self.builds.append(shlex.split(value))
        elif key != "from":
            getattr(self, key).extend(shlex.split(value))


def misfits(lines, expected):
    """What is wrong with lines that ought to be these, each line one of them."""
    wrong = [f"not expected: {line!r}" for line in lines
             if not any(pattern.fullmatch(line) for _, pattern in expected)]
    for count, pattern in expected:
        seen = sum(1 for line in lines if pattern.fullmatch(line))
        if seen != count:
            wrong.append(f"{seen} lines instead of {count} are: {pattern.pattern}")
    return wrong


def without_rank(line):
    return re.sub(r"^\[\d+\] ", "", line)
