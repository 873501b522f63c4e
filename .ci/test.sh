# Part of ./dev: the tests.

# test [--all] [ARGUMENTS OF CTEST...]
Test() {
  local presets=(release) failed=() preset
  if [[ "${1:-}" == --all ]]; then
    presets=(asan tsan clang release)  # release comes last: its summary closes the output.
    shift
  fi
  Setup
  for preset in "${presets[@]}"; do BuildPreset "$preset"; done
  for preset in "${presets[@]}"; do
    rm -f "build/$preset/junit.xml"
    ctest --preset "$preset" -j "$(nproc)" --output-junit "$PWD/build/$preset/junit.xml" "$@" ||
      failed+=("$preset")
  done
  if [[ ${#failed[@]} -gt 0 ]]; then
    Fail "tests failed in: ${failed[*]}"
  fi
}
