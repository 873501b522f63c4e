# Part of ./dev: shows that each invariant of the simulation is alive.
#
# tests/sim/mutations/NAME.patch breaks the core in one place; some seed must notice.  Lines above the
# patch's first `diff` or `---` say what is broken, and `Sim: TARGET ARGUMENTS` names what is built
# and run (cluster_sim, if there is no such line).  It is done on a copy, never on the tree.

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
  Sources h cc c txt cmake proto patch | tar -cf - -T - | tar -xf - -C "$copy"
  cmake -S "$copy" -B "$binaries" -G Ninja -DMUSTER_CORE_ONLY=ON \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo --log-level=WARNING >/dev/null
  MutateAll "$copy" "$binaries" "${patches[@]}"
}

MutateAll() {
  local copy=$1 binaries=$2 patch outcome survived=0
  shift 2
  printf '%-32s %-9s %5s  %s\n' mutation outcome s 'first complaint'
  for patch in "$@"; do
    outcome=$(Mutate "$copy" "$binaries" "$patch")
    printf '%s\n' "$outcome"
    [[ "$outcome" == *" caught "* ]] || survived=$((survived + 1))
  done
  [[ $survived -eq 0 ]] || Fail "mutations: $survived of $# were not caught"
  Say "mutations: all $# caught"
}

# Prints one row of the table.  The sound core is run first: it must pass, or a catch means nothing.
Mutate() {
  local copy=$1 binaries=$2 patch=$3 started=$SECONDS outcome log why='' command
  log=build/mutations/$(basename "$patch" .patch).log
  read -ra command <<<"$(sed -n '/^\(diff\|---\) /q; s/^Sim: //p' "$patch" | head -n 1)"
  [[ ${#command[@]} -gt 0 ]] || command=(cluster_sim)
  if ! patch -d "$copy" -p1 --batch --silent <"$patch" >"$log" 2>&1; then
    outcome='STALE'
    why="does not apply: $log"
  elif ! cmake --build "$binaries" --target "${command[0]}" -j "$(nproc)" >"$log" 2>&1; then
    outcome='BROKEN'
    why="does not build: $log"
  elif timeout 600 "$binaries/bin/${command[0]}" "${command[@]:1}" >"$log" 2>&1; then
    outcome='SURVIVED'
    why="no seed noticed: $log"
  else
    outcome='caught'
    why=$(grep -m 1 -iE 'violat|invariant|CHECK|fail|seed' "$log" | cut -c1-90)
  fi
  patch -d "$copy" -p1 --batch --silent --reverse <"$patch" >/dev/null 2>&1 || true
  printf '%-32s %-9s %5d  %s\n' "$(basename "$patch" .patch)" "$outcome" $((SECONDS - started)) "$why"
}
