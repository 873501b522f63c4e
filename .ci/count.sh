#!/usr/bin/env bash
# Prints `N passed, N failed, N skipped` for the last `./dev test`: single tests where a program runs
# GoogleTest (or prints its closing lines), whole programs where it does not.  Fails if no test ran.
# usage: count.sh BUILD_FOLDER
set -euo pipefail
verdicts=$1/junit.xml             # How each program ended, as ctest says.
log=$1/Testing/Temporary/LastTest.log  # What it printed, whole.
if [[ ! -r "$verdicts" || ! -r "$log" ]]; then
  echo "$1: no tests were run"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
awk '
  function close_program() {
    if (name == "") return
    if (verdict[name] == "fail" && f == 0) f = 1  # It crashed, or ran out of time.
    if (p + f + s == 0) {
      if (verdict[name] == "skip") s = 1
      else p = 1
    }
    passed += p; failed += f; skipped += s
    name = ""
    p = f = s = 0
  }
  FILENAME == ARGV[1] {
    if ($1 == "<testcase") {
      split($0, quoted, "\"")
      program = quoted[2]
      verdict[program] = /status="run"/ ? "pass" : /status="disabled"/ ? "skip" : "fail"
    }
    if (/<skipped message="SKIP_/) verdict[program] = "skip"
    next
  }
  /^[0-9]+\/[0-9]+ Testing: / { close_program(); name = $3 }
  /^\[  PASSED  \] [0-9]+ test/ { p = $4 }
  /^\[  SKIPPED \] [0-9]+ test/ { s = $4 }
  /^\[  FAILED  \] [0-9]+ test/ { f = $4 }
  END {
    close_program()
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    exit passed + failed == 0
  }
' "$verdicts" "$log"
