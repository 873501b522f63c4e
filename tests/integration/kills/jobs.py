"""One training job of the storm: what it was asked, what hit it, what it has shown, and whether its
end is one that muster promises."""

import json
import os
import time

from cluster_up import PATIENCE, Failed

EVERY = 5  # Steps between checkpoints.
MICRO_BATCHES = 4
# What ends an attempt.  The others must leave no trace in a job.
DISTURBING = ("rank", "jobd", "pmix", "keeper")


class Kill:
    """One kill -9 that hit."""

    def __init__(self, number, process, job, phase):
        self.number, self.part, self.node, self.rank = number, process.part, process.node, process.rank
        self.pid, self.at = process.pid, time.monotonic()
        self.job, self.phase = job, phase  # The job aimed at, and what it was doing.
        self.outcome = "-"

    def __str__(self):
        what = f"kill {self.number}: {self.part} {self.pid}"
        what += f" on {self.node}" if self.node else ""
        what += f", rank {self.rank}" if self.rank >= 0 else ""
        return what + (f", job {self.job.id} {self.phase}" if self.job else "")


class Plan:
    """What a job is asked to do, drawn at random."""

    def __init__(self, random, steps, frail):
        self.nodes, self.ranks = random.choice([(2, 1), (2, 2), (1, 2)])
        self.steps, self.frail = steps, frail
        self.stored = random.random() < 0.85


class Job:
    def __init__(self, storm, plan):
        self.storm, self.plan = storm, plan
        storm.jobs_made += 1
        self.name = f"{'frail' if plan.frail else 'hardy'}-{storm.jobs_made}"
        self.step_log = storm.path(self.name + ".steps")
        self.hits, self.floors, self.cancelled = [], {}, False
        self.cluster = storm.cluster
        self.id = int(self.cluster.call("submit", self._file()).split()[0])
        shown = self.cluster.ask("show", str(self.id))
        self.commits = os.path.join(storm.store, shown["run_id"], "commits")
        self.run_id = shown["run_id"]
        self.wait()

    def _file(self):
        plan = self.plan
        command = [self.storm.program, "--steps", str(plan.steps), "--micro-batches",
                   str(MICRO_BATCHES), "--seed", str(self.storm.model_seed), "--checkpoint-every",
                   str(EVERY if plan.stored else 0), "--step-log", self.step_log, "--hash"]
        store = f"checkpoint: {{store: '{self.storm.store}'}}\n" if plan.stored else ""
        return self.storm.write(
            self.name + ".yaml",
            f"name: {self.name}\nnodes: {plan.nodes}\nranks_per_node: {plan.ranks}\n"
            f"command: {json.dumps(command)}\nworkdir: {self.storm.folder}\ngrace: 2s\n"
            f"restart: {{max: {0 if plan.frail else 1000}}}\n{store}")

    def wait(self):
        """`muster wait` outlives coordinators, not clusters."""
        self.waiter = self.cluster.start("wait", "--json", str(self.id))

    def hit(self, kill):
        self.hits.append(kill)
        self.floors[kill] = self.newest_commit()

    def over(self):
        return self.waiter.poll() is not None

    # ---- what it shows ----------------------------------------------------------------------------

    def lines(self):
        """(attempt, step, time) of each step that was finished.  The first of an attempt that was
        restored is the step that it was restored to."""
        try:
            with open(self.step_log, encoding="ascii") as file:
                rows = [line.split() for line in file.read().split("\n")[:-1]]
        except FileNotFoundError:
            return []
        return [(int(row[0]), int(row[1]), int(row[2]) / 1e6) for row in rows]

    def newest_commit(self):
        try:
            steps = [int(name.split("-s")[1].split(".")[0]) for name in os.listdir(self.commits)]
        except FileNotFoundError:
            return 0
        return max(steps, default=0)

    def phase(self):
        lines = self.lines()
        last = lines[-1][1] if lines else 0
        disturbed = max((hit.at for hit in self.hits if hit.part in DISTURBING), default=0)
        if self.over():
            return "over"
        if self.cancelled or last == self.plan.steps:
            return "stopping"
        if not lines or lines[-1][2] < disturbed:
            return "starting"
        if self.plan.stored and last // EVERY * EVERY > self.newest_commit():
            return "saving"
        return "training"

    # ---- how it ended -----------------------------------------------------------------------------

    def finish(self):
        """Judges the job, which must be over or be about to be."""
        try:
            out, err = self.waiter.communicate(timeout=PATIENCE)
        except Exception as problem:
            raise Failed(f"{self.name} does not go on: " + self.cluster.call("why", str(self.id))) \
                from problem
        if not out:
            raise Failed(f"muster wait {self.id}: exit {self.waiter.returncode}: {err.decode()}")
        end = json.loads(out)
        try:
            self._judge(end)
            self._check_attempts()
            self.check_store()
        except Failed as problem:
            told = "".join(f"\n  hit by {hit}" for hit in self.hits)
            raise Failed(f"{self.name} (job {self.id}, {vars(self.plan)}): {problem}{told}\n"
                         f"  its end: {json.dumps(end)}") from None

    def _disturbing(self):
        return [hit for hit in self.hits if hit.part in DISTURBING]

    def _judge(self, end):
        hits = self._disturbing()
        state = end["state"]
        for hit in self.hits:
            if hit.job is self and hit.part in ("rank", "jobd", "pmix", "mover", "exec"):
                hit.outcome = state
        if end["restarts"] > len(hits):
            raise Failed(f"{end['restarts']} restarts after {len(hits)} kills that may cause one")
        if state == "succeeded":
            self._check_hash()
            # It may have been done just before it heard that its keeper is dead; a PMIx helper may
            # have been one in reserve.
            if self.plan.frail and any(hit.phase != "stopping" for hit in hits
                                       if hit.part not in ("keeper", "pmix")):
                raise Failed("it succeeded though a part without which it could not was killed")
        elif state == "cancelled" and (self.cancelled or any(h.part == "keeper" for h in hits)):
            if end["exit"] != 143:
                raise Failed(f"cancelled with exit {end['exit']}")
        elif state == "failed" and self.plan.frail and any(self._names(end, h) for h in hits):
            for hit in hits:
                hit.outcome = "named" if self._names(end, hit) else "failed"
        else:
            raise Failed("no end that its kills explain")

    @staticmethod
    def _names(end, hit):
        """Whether the cause is this very victim."""
        cause = end["cause"]
        if hit.part == "rank":
            return (cause["kind"], cause.get("code"), cause.get("rank"), end["exit"]) == \
                ("signal", 9, hit.rank, 137)
        kinds = {"jobd": ("jobd_lost", "launch"), "pmix": ("pmix_lost",)}.get(hit.part, ())
        return cause["kind"] in kinds and cause.get("node") == hit.node and end["exit"] == 71

    def _check_hash(self):
        output = self.cluster.call("logs", "--rank", "0", str(self.id))
        found = [line.split("sha256 ")[1].split()[0] for line in output.splitlines()
                 if "parameters sha256 " in line]
        if found[-1:] != [self.storm.hashes[self.plan.steps]]:
            raise Failed(f"hash {found}, undisturbed {self.storm.hashes[self.plan.steps]}")

    def _check_attempts(self):
        """No attempt may begin further back than what was promised to it."""
        lines = self.lines()
        for attempt in sorted({line[0] for line in lines} - {0}):
            mine = [line for line in lines if line[0] == attempt]
            before = [line for line in lines if line[0] < attempt]
            first, at = mine[0][1], mine[0][2]
            how = self._restored(attempt)
            resumed = 0 if how == "start" else first
            earlier = [hit for hit in self._disturbing() if hit.at < at]
            floor = max((self.floors[hit] for hit in earlier), default=0)
            if resumed < floor:
                raise Failed(f"attempt {attempt} began at step {resumed} ({how}), but step {floor} "
                             "was committed before")
            previous = [line for line in before if line[0] == attempt - 1]
            slack = 1 if any(hit.part == "jobd" for hit in earlier) else 0
            if how == "memory" and previous and resumed < previous[-1][1] - slack:
                raise Failed(f"attempt {attempt} took step {resumed} from memory, but step "
                             f"{previous[-1][1]} was finished before")
            for hit in earlier[-1:]:
                hit.outcome = f"from {how}"

    def _restored(self, attempt):
        path = os.path.join(self.cluster.state, "logs", str(self.id), str(attempt), "0.out")
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("restored step"):
                    return "memory" if line.rstrip().endswith("memory") else "commit"
                if line.startswith("started from seed"):
                    return "start"
        raise Failed(f"attempt {attempt} made steps and does not say from where")

    def check_store(self):
        """What was committed is there, whole, and no older than what was seen."""
        seen = max(self.floors.values(), default=0)
        runs = self.storm.verify(self.run_id) if self.newest_commit() or seen else []
        steps = [int(run["commit"].split("-s")[1]) for run in runs]
        if any(run["damage"] for run in runs):
            raise Failed(f"damage in the store: {runs}")
        if seen and (not steps or steps[0] < seen):
            raise Failed(f"step {seen} was committed, the newest commit is {steps}")
