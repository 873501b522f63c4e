"""What the demo draws: two rows of eight slots, the loss as a curve, the story.  On a terminal the
picture is drawn in place; elsewhere only the story is printed, line by line."""

import math
import shutil
import sys
import time

GREEN, RED, YELLOW, GREY, BOLD, RESET = (
    "\033[32m", "\033[31m", "\033[33m", "\033[90m", "\033[1m", "\033[0m")
BARS = " ▁▂▃▄▅▆▇█"
CURVE_ROWS = 6


class Screen:
    def __init__(self, nodes, slots, plain=False):
        self.nodes, self.slots = nodes, slots
        self.live = sys.stdout.isatty() and not plain
        self.slot_states = {}
        self.losses = []
        self.status = ""
        self.story = []
        self.drawn_rows = 0
        self.began = time.monotonic()
        self.last_draw = 0.0

    def say(self, text):
        """One line of the story, for good."""
        stamp = f"{time.monotonic() - self.began:6.1f} s  "
        if not self.live:
            print(stamp + text, flush=True)
            return
        self._erase()
        print(stamp + text)
        self.draw(force=True)

    def set_slots(self, states):
        """states: {(node index, slot): "running" | "stopped" | "killed"}"""
        self.slot_states = states
        self.draw()

    def add_loss(self, step, loss, status):
        self.losses.append((step, loss))
        self.status = status
        self.draw()

    def draw(self, force=False):
        now = time.monotonic()
        if not self.live or (not force and now - self.last_draw < 0.1):
            return
        self.last_draw = now
        self._erase()
        rows = self._slot_rows() + self._curve_rows() + [self.status]
        sys.stdout.write("\n".join(rows) + "\n")
        sys.stdout.flush()
        self.drawn_rows = len(rows)

    def finish(self):
        self.draw(force=True)
        self.drawn_rows = 0
        self.live = False

    def _erase(self):
        if self.drawn_rows:
            sys.stdout.write(f"\033[{self.drawn_rows}F\033[0J")
            self.drawn_rows = 0

    def _slot_rows(self):
        colours = {"running": GREEN + "■", "stopped": GREY + "□", "killed": RED + "✖"}
        rows = []
        for node in range(self.nodes):
            cells = [colours[self.slot_states.get((node, slot), "stopped")] + RESET
                     for slot in range(self.slots)]
            rows.append(f"  n{node}  " + " ".join(cells))
        return rows

    def _curve_rows(self):
        width = max(20, min(100, shutil.get_terminal_size((80, 24)).columns - 12))
        if not self.losses:
            return [""] * (CURVE_ROWS + 1)
        columns = self._columns(width)
        top = max(columns)
        bottom = min(columns)
        span = max(top - bottom, 1e-9)
        rows = []
        for row in range(CURVE_ROWS):
            line = ""
            for value in columns:
                height = (value - bottom) / span * (CURVE_ROWS - 0.2) + 0.2
                fill = height - (CURVE_ROWS - 1 - row)
                line += BARS[max(0, min(8, math.ceil(fill * 8)))]
            label = {0: f"{top:6.3f}", CURVE_ROWS - 1: f"{bottom:6.3f}"}.get(row, " " * 6)
            rows.append(f"  {label} {line}")
        rows.append(f"    loss, nats per byte; step 1 to {self.losses[-1][0]}")
        return rows

    def _columns(self, width):
        """The losses as at most `width` means of equally many steps."""
        values = [loss for _, loss in self.losses]
        if len(values) <= width:
            return values
        edges = [i * len(values) // width for i in range(width + 1)]
        return [sum(values[a:b]) / (b - a) for a, b in zip(edges, edges[1:])]
