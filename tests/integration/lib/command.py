"""Commands that a test runs, with their output in memory and a deadline on every wait."""

import os
import subprocess
import threading
import time

PATIENCE = 60  # For what takes a second or two when all is quiet.


class Command:
    """A started command; both its outputs are read all the time."""

    def __init__(self, arguments, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        **options)
        self.out, self.err = b"", b""
        self._news = threading.Condition()
        self._readers = [threading.Thread(target=self._read, args=(name,), daemon=True)
                         for name in ("out", "err")]
        for reader in self._readers:
            reader.start()

    def _read(self, name):
        stream = getattr(self.process, "std" + name)
        while True:
            piece = os.read(stream.fileno(), 1 << 16)
            with self._news:
                setattr(self, name, getattr(self, name) + piece)
                self._news.notify_all()
            if not piece:
                return

    @property
    def text(self):
        """What it said on stderr."""
        return self.err.decode(errors="replace")

    def await_output(self, *lines, count=1):
        """Until stdout has each of these, `count` times."""
        wanted = [line if isinstance(line, bytes) else line.encode() for line in lines]
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while any(self.out.count(line) < count for line in wanted):
                left = deadline - time.monotonic()
                ended = self.process.poll() is not None and not any(
                    reader.is_alive() for reader in self._readers)
                if left <= 0 or ended:
                    raise AssertionError(f"not {count} times {wanted} in {self.out} {self.err}")
                self._news.wait(min(left, 0.5))

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """Its exit status, as a shell would say it."""
        status = self.process.wait(timeout=PATIENCE)
        for reader in self._readers:
            reader.join(timeout=PATIENCE)
        return status if status >= 0 else 128 - status


def await_that(what, holds):
    """Until it holds; there is no event to wait for in another's files."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        time.sleep(0.01)
