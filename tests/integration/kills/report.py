"""What the storm tells at its end."""

import collections
import datetime
import subprocess


def commit_of(root):
    """The tree's commit, with a plus when something differs from it."""
    def git(*arguments):
        done = subprocess.run(["git", "-C", root, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        return done.stdout.decode().strip()
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + \
        ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def print_table(kills, parts, phases):
    print(f"\n{'victim':12} {'kills':>6} " + " ".join(f"{phase:>9}" for phase in phases)
          + "   outcomes")
    for part in parts:
        mine = [kill for kill in kills if kill.part == part]
        by_phase = collections.Counter(kill.phase for kill in mine)
        outcomes = collections.Counter(kill.outcome for kill in mine)
        print(f"{part:12} {len(mine):6} "
              + " ".join(f"{by_phase[phase]:9}" for phase in phases) + "   "
              + ", ".join(f"{outcome} {n}" for outcome, n in outcomes.most_common()))


def too_rare(kills, count, parts, phases):
    """Which kinds the storm did not hit often enough to say anything about them."""
    said = []
    for what, of, share in (("part", parts, 10), ("phase", phases, 15)):
        for kind in of:
            hits = sum(getattr(kill, what) == kind for kill in kills)
            if hits < count // share:
                said.append(f"{kind}: {hits} of {count}, at least {count // share} are due")
    return said


def append_result(path, line):
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def result_line(name, seed, count, root, outcome):
    """A row of tests/soak/results.md."""
    today = datetime.date.today().isoformat()
    return f"| {name} | {seed} | {count} | {commit_of(root)} | {outcome} ({today}) |"
