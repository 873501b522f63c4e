#!/usr/bin/env bash
# ./dev and the parts of CI do what they say: bad input, counting, and finding what was left behind.
# usage: dev_test.sh ROOT_OF_THE_REPOSITORY
set -uo pipefail
cd "$1" || exit 1
work=$(mktemp -d /tmp/muster-test-$$-XXXXXX)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

# Expect NAME STATUS WORDS COMMAND...: the command ends with STATUS, and its output has WORDS.
Expect() {
  local name=$1 status=$2 words=$3 output rc=0
  shift 3
  output=$("$@" 2>&1 </dev/null) || rc=$?
  if [[ $rc -eq $status && "$output" == *"$words"* ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf '%s: wanted status %s and "%s", got %s and:\n%s\n' "$name" "$status" "$words" "$rc" "$output"
  fi
}

for script in dev .ci/run .ci/*.sh tests/rules/*.sh; do
  Expect "$script is bash" 0 '' bash -n "$script"
done
for verb in setup build test demo bench soak lint fmt mutations fresh clean gpu; do
  Expect "help knows $verb" 0 "  $verb" ./dev help
done
Expect 'an unknown verb is the mistake of the user' 2 "did you mean 'test'" ./dev tets
Expect 'a word that is like no verb suggests none' 2 "unknown verb 'frobnicate' (" ./dev frobnicate
Expect 'gpu knows its arguments' 2 "unknown argument '--bild'" ./dev gpu --bild
Expect 'no CUDA is no success, and no failure' 77 'SKIPPED, nothing was checked on a GPU: no cmake' \
  bash -c 'command() { [[ $2 != cmake ]]; }; source .ci/gpu.sh; Gpu'
Expect 'lint knows its arguments' 2 "unknown argument '--al'" ./dev lint --al
Expect 'clean knows its arguments' 2 "unknown argument '--chek'" ./dev clean --chek
Expect 'fresh knows its arguments' 2 "unknown argument '--kep'" ./dev fresh --kep
for patch in tests/sim/mutations/*.patch; do
  Expect "mutation $patch applies" 0 '' patch -p1 --batch --dry-run -i "$patch"
done
Expect 'README begins with the two commands' 0 $'./dev demo\n./dev test' \
  bash -c 'source .ci/fresh.sh; ReadmeCommands'

# ---- count.sh ------------------------------------------------------------------------------------

# A real run of ctest, with one program of each fate.
mkdir "$work/run"
cat >"$work/run/CTestTestfile.cmake" <<'TEXT'
add_test(passes true)
add_test(counts echo "[  PASSED  ] 3 tests.\n[  SKIPPED ] 1 test, listed below:")
add_test(fails sh -c "echo '[  PASSED  ] 5 tests.'; echo '[  FAILED  ] 2 tests'; exit 1")
add_test(crashes sh -c "echo '[  PASSED  ] 7 tests.'; kill -9 $$")
add_test(skips sh -c "exit 77")
set_tests_properties(skips PROPERTIES SKIP_RETURN_CODE 77)
add_test(missing /nonexistent)
TEXT
(cd "$work/run" && ctest --output-junit "$work/run/junit.xml" >/dev/null 2>&1 </dev/null)
Expect 'tests are counted, crashes too' 0 '16 passed, 4 failed, 2 skipped' \
  bash .ci/count.sh "$work/run"
Expect 'no log is no success' 1 'no tests were run' bash .ci/count.sh "$work/none"
: >"$work/run/junit.xml"
: >"$work/run/Testing/Temporary/LastTest.log"
Expect 'no test is no success' 1 '0 passed, 0 failed, 0 skipped' bash .ci/count.sh "$work/run"

# ---- clean ---------------------------------------------------------------------------------------

# In namespaces of its own, so that it finds only what is planted here.
cat >"$work/plant" <<'TEXT'
mount -t tmpfs none /dev/shm && mount -t tmpfs none /run && mount -t tmpfs none /sys/fs/cgroup
mount -t tmpfs none /tmp && mkdir -p /tmp/muster-0/mounted /sys/fs/cgroup/muster-a/ranks
ip netns add muster-n0 && ip link add muster-br type bridge
mount -t tmpfs none /tmp/muster-0/mounted && touch /dev/shm/muster-b
MUSTER_JOB_COOKIE=x sleep 600 &
./dev clean --check; echo "first: $?"
./dev clean >/dev/null; echo "removing: $?"
./dev clean --check; echo "then: $?"
TEXT
if [[ $(id -u) -eq 0 ]]; then
  # The script lies in the /tmp that it covers, so it is read before.
  script=$(cat "$work/plant")
  unshare -mpfn --mount-proc --propagation private bash -c "$script" >"$work/cleaned" 2>&1
  for thing in 'process' 'namespace muster-n0' 'interface muster-br' 'mount /tmp/muster-0/mounted' \
    'cgroup /sys/fs/cgroup/muster-a' 'file /dev/shm/muster-b' 'file /tmp/muster-0' 'first: 1' \
    'removing: 0' 'then: 0'; do
    Expect "clean: $thing" 0 "$thing" cat "$work/cleaned"
  done
else
  echo 'skipped: clean needs root'
  skipped=1
fi

printf '[  PASSED  ] %d tests\n' "$passed"
[[ $skipped -eq 0 ]] || printf '[  SKIPPED ] %d test\n' "$skipped"
[[ $failed -eq 0 ]] || printf '[  FAILED  ] %d tests\n' "$failed"
exit $((failed > 0))
