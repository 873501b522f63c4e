# Part of ./dev: what the machine needs, and the build.

# The packages of .ci/packages.txt that are not installed, one a line.
MissingPackages() {
  local wanted
  wanted=$(sed 's/#.*//' .ci/packages.txt | awk 'NF { print $1 }')
  # shellcheck disable=SC2086
  dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' $wanted 2>/dev/null |
    awk '$1 == "ii" { print $2 }' | sort -u |
    comm -13 - <(sort -u <<<"$wanted")
}

Setup() {
  command -v dpkg-query apt-get >/dev/null ||
    Fail "setup knows Debian only; install by hand what .ci/packages.txt names"
  local missing sudo=()
  mapfile -t missing < <(MissingPackages)
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null ||
      Fail "as root: apt-get install --no-install-recommends ${missing[*]}"
    sudo=(sudo)
  fi
  Say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  local env=(env DEBIAN_FRONTEND=noninteractive)
  local options=(-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -q)
  "${sudo[@]}" "${env[@]}" apt-get "${options[@]}" update </dev/null
  "${sudo[@]}" "${env[@]}" apt-get "${options[@]}" install -y --no-install-recommends \
    "${missing[@]}" </dev/null
}

# Configures and builds preset release: all of it, or the targets named.
Build() {
  BuildPreset release "$@"
}

BuildPreset() {
  local preset=$1 started=$SECONDS
  mkdir -p build
  shift
  # The last lines of configuring say what is left out: they come on stderr.
  cmake --preset "$preset" >"build/configure.log" ||
    { cat "build/configure.log" && Fail "cmake --preset $preset failed"; }
  cmake --build --preset "$preset" -j "$(nproc)" ${1:+--target "$@"}
  Say "built $preset in $((SECONDS - started)) s"
}
