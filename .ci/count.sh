#!/usr/bin/env bash
# Reads ctest's LastTest.log and prints `N passed, N failed, N skipped`: single tests where a program
# runs GoogleTest, whole programs where it does not.  Fails when no test ran.
set -euo pipefail
log=$1
[[ -r "$log" ]] || {
  echo "$log: no tests were run"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}
awk '
  function close_program() {
    if (!open) return
    if (p + f + s == 0) { if (verdict == "Passed") p = 1; else if (verdict == "Skipped") s = 1 }
    if (verdict == "Failed" && f == 0) f = 1  # It crashed, or ran out of time.
    passed += p; failed += f; skipped += s
    open = p = f = s = 0
  }
  /^[0-9]+\/[0-9]+ Testing: / { close_program(); open = 1; verdict = "Failed" }
  /^\[  PASSED  \] [0-9]+ test/ { p = $4 }
  /^\[  SKIPPED \] [0-9]+ test/ { s = $4 }
  /^\[  FAILED  \] [0-9]+ test/ { f = $4 }
  /^Test (Passed|Failed|Skipped|Not Run)\.$/ { verdict = substr($2, 1, length($2) - 1) }
  END {
    close_program()
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    exit passed + failed == 0
  }
' "$log"
