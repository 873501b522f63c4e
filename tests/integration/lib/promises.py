"""Tests in Python whose output reads, and is counted, like GoogleTest's.

    class Hosts(promises.TestCase): ...
    promises.main(needs_root="namespaces")

A test case's class method `scene` may open what all its tests share: a generator that yields it once.
"""

import os
import sys
import time
import unittest


class _Result(unittest.TestResult):
    passed = 0

    def startTest(self, test):
        super().startTest(test)
        print(f"[ RUN      ] {test.id()}", flush=True)
        test.began = time.monotonic()

    def _say(self, word, test):
        print(f"[ {word:>8} ] {test.id()} ({1000 * (time.monotonic() - test.began):.0f} ms)",
              flush=True)

    def addSuccess(self, test):
        self.passed += 1
        self._say("OK", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(reason)
        self._say("SKIPPED", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        print(self.failures[-1][1])
        self._say("FAILED", test) if hasattr(test, "began") else None

    def addError(self, test, err):
        super().addError(test, err)
        print(self.errors[-1][1])
        self._say("FAILED", test) if hasattr(test, "began") else None


def main(needs_root=None):
    """Runs what the calling script defines; `sys.argv` may name tests, as unittest wants them."""
    if needs_root and os.geteuid() != 0:
        print(f"skipped: needs root ({needs_root})")
        sys.exit(77)
    loader = unittest.TestLoader()
    script = sys.modules["__main__"]
    names = [name for name in sys.argv[1:] if not name.startswith("-")]
    suite = (loader.loadTestsFromNames(names, script) if names
             else loader.loadTestsFromModule(script))
    result = _Result()
    suite.run(result)
    bad = len(result.failures) + len(result.errors)
    print(f"[  PASSED  ] {result.passed} tests.")
    if result.skipped:
        print(f"[  SKIPPED ] {len(result.skipped)} tests.")
    if bad:
        print(f"[  FAILED  ] {bad} tests.")
    if result.testsRun == 0:
        print("no tests were run")
    sys.exit(0 if result.passed and not bad else 1)
