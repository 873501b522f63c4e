# Part of ./dev: shows that each invariant of the simulation is alive.
#
# tests/sim/mutations/NAME.patch breaks the core in one place; some seed must notice.  Lines above the
# patch's first `diff` or `---` say what is broken, and `Sim: TARGET ARGUMENTS` names what is built
# and run (cluster_sim, if there is no such line).  It is done on a copy, never on the tree.  Each
# simulation is first run on the sound core, where it must pass: else a catch would mean nothing.

# mutations [NAME...]
Mutations() {
  local patches=() name copy=build/mutations/tree binaries=build/mutations/build
  for name in "$@"; do
    [[ -f "tests/sim/mutations/$name.patch" ]] || Misuse "mutations: no tests/sim/mutations/$name.patch"
    patches+=("tests/sim/mutations/$name.patch")
  done
  [[ $# -gt 0 ]] || mapfile -t patches < <(find tests/sim/mutations -name '*.patch' 2>/dev/null | sort)
  [[ ${#patches[@]} -gt 0 ]] || Fail "mutations: there is no tests/sim/mutations/*.patch"
  Setup
  rm -rf "$copy"
  mkdir -p "$copy"
  # With new times: what an earlier run built may be of a patched source.
  Sources h cc c py typed txt cmake proto patch | tar -cf - -T - | tar -xmf - -C "$copy"
  cmake -S "$copy" -B "$binaries" -G Ninja -DMUSTER_CORE_ONLY=ON \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo --log-level=WARNING >/dev/null
  MutateAll "$copy" "$binaries" "${patches[@]}"
}

MutateAll() {
  local copy=$1 binaries=$2 patch row survived=0 sound=
  shift 2
  printf '%-32s %-9s %5s  %s\n' mutation outcome s 'first complaint'
  for patch in "$@"; do
    read -ra sim <<<"$(SimOf "$patch")"
    if [[ "$sound" != *"|${sim[*]}|"* ]]; then
      RunSim "$binaries" build/mutations/sound.log "${sim[@]}" ||
        Fail "mutations: '${sim[*]}' fails on the sound core: build/mutations/sound.log"
      printf '%-32s %-9s\n' "(sound) ${sim[*]}" passes
      sound+="|${sim[*]}|"
    fi
    row=$(Mutate "$copy" "$binaries" "$patch")
    printf '%s\n' "$row"
    [[ "$row" == *" caught "* ]] || survived=$((survived + 1))
  done
  [[ $survived -eq 0 ]] || Fail "mutations: $survived of $# were not caught"
  Say "mutations: all $# caught"
}

# The target that shall notice the patch, and its arguments.
SimOf() {
  local sim
  sim=$(sed -n '/^\(diff\|---\) /q; s/^Sim: //p' "$1" | head -n 1)
  printf '%s\n' "${sim:-cluster_sim}"
}

# Builds and runs; 99: it did not build.
RunSim() {
  local binaries=$1 log=$2 target=$3
  shift 3
  cmake --build "$binaries" --target "$target" -j "$(nproc)" >"$log" 2>&1 || return 99
  timeout 900 "$binaries/bin/$target" "$@" >"$log" 2>&1
}

# Prints one row of the table.
Mutate() {
  local copy=$1 binaries=$2 patch=$3 started=$SECONDS name log outcome=caught why rc=0
  name=$(basename "$patch" .patch)
  log=build/mutations/$name.log
  read -ra sim <<<"$(SimOf "$patch")"
  if ! patch -d "$copy" -p1 --batch --dry-run <"$patch" >"$log" 2>&1; then
    outcome=STALE why="does not apply: $log"
  else
    patch -d "$copy" -p1 --batch --silent <"$patch"
    RunSim "$binaries" "$log" "${sim[@]}" || rc=$?
    patch -d "$copy" -p1 --batch --silent --reverse <"$patch"
    why=$(grep -m 1 -iE 'violat|invariant|broken|fail|seed' "$log" | cut -c1-90 || true)
    case $rc in
      0) outcome=SURVIVED why="no seed noticed: $log" ;;
      99) outcome=BROKEN why="does not build: $log" ;;
      124) outcome=ENDLESS why="did not end in 900 s: $log" ;;
    esac
  fi
  printf '%-32s %-9s %5d  %s\n' "$name" "$outcome" $((SECONDS - started)) "$why"
}
