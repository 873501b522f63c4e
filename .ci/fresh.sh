# Part of ./dev: follows README word for word on a machine that has nothing: a minimal Debian 12 in a
# folder, made by debootstrap from the mirror that this machine uses.

# fresh [--as-root] [--keep] [COMMAND...]: README's two commands, or those given, in a clone of HEAD.
Fresh() {
  local user=newcomer keep=0
  while [[ "${1:-}" == --* ]]; do
    case "$1" in
      --as-root) user=root ;;
      --keep) keep=1 ;;
      *) Misuse "fresh: unknown argument '$1' (--as-root, --keep)" ;;
    esac
    shift
  done
  if [[ $(id -u) -ne 0 ]]; then
    Fail "fresh: SKIPPED, nothing was tried: it needs root, for a chroot with mounts of its own"
  fi
  command -v debootstrap >/dev/null ||
    Fail "fresh: SKIPPED, nothing was tried: it needs debootstrap (apt-get install debootstrap)"
  local commands=("$@")
  [[ $# -gt 0 ]] || mapfile -t commands < <(ReadmeCommands)
  [[ ${#commands[@]} -gt 0 ]] || Fail "fresh: README.md has no line that begins with ./dev"

  # /var/tmp: larger than a /tmp in memory.  Not "muster-": what runs inside may look for that.
  local root
  root=$(mktemp -d /var/tmp/fresh-muster-XXXXXX)
  chmod 755 "$root"
  # shellcheck disable=SC2064
  [[ $keep -eq 1 ]] || trap "rm -rf --one-file-system '$root'" EXIT
  Say "fresh: a minimal Debian 12 in $root, commit $(git rev-parse --short HEAD), as $user:" \
    "${commands[*]/%/;}"
  git diff --quiet HEAD || Say "fresh: the clone has HEAD, not your uncommitted changes"
  FreshInstall "$root"
  FreshClone "$root" "$user"
  FreshRun "$root" "$user" "${commands[@]}"
}

# The two commands of README, in its order, as they stand there.
ReadmeCommands() {
  grep -oxE ' *\./dev (demo|test)' README.md | sed 's/^ *//' | awk '!seen[$0]++'
}

# The lines of sources.list for what this machine gets from Debian.
DebianSources() {
  apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(CREATED_BY)' |
    awk -F'|' '$1 == "Debian" && $4 == "main" && $5 == "Packages" {
      print "deb " $2 " " $3 " main" }' | sort -u
}

FreshInstall() {
  local root=$1 mirror started=$SECONDS
  [[ -n "$(DebianSources)" ]] || apt-get update -q </dev/null
  mirror=$(DebianSources | awk '$3 == "bookworm" { print $2; exit }')
  [[ -n "$mirror" ]] || Fail "fresh: SKIPPED: this machine's apt knows no Debian 12 (bookworm)"
  debootstrap --variant=minbase --include=ca-certificates,git,sudo bookworm "$root" "$mirror" \
    >"$root.log" 2>&1 </dev/null || { tail -n 20 "$root.log" && Fail "fresh: debootstrap failed"; }
  rm -f "$root.log"
  # As this machine reaches its mirror, so does the new one.
  DebianSources >"$root/etc/apt/sources.list"
  apt-config dump | grep -E '^Acquire::' >"$root/etc/apt/apt.conf.d/99host" || true
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
  Say "fresh: installed $(chroot "$root" dpkg-query -W -f='.\n' | wc -l) packages in" \
    "$((SECONDS - started)) s"
}

# A clone as anyone would make it, owned by the user.
FreshClone() {
  local root=$1 user=$2 home=/root
  if [[ "$user" != root ]]; then
    home=/home/$user
    chroot "$root" useradd --create-home --shell /bin/bash "$user"
    echo "$user ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$user"
  fi
  git clone -q --no-local --single-branch . "$root$home/muster"
  chroot "$root" chown -R "$user:" "$home/muster"
}

# Runs the commands in namespaces of their own: what they mount or leave running ends with them.
FreshRun() {
  local root=$1 user=$2 command started rc=0 failed=0
  shift 2
  for command in "$@"; do
    started=$SECONDS rc=0
    Say "fresh: \$ $command"
    unshare --mount --pid --ipc --uts --fork --kill-child --propagation private \
      bash .ci/fresh_inside.sh "$root" "$user" "$command" </dev/null || rc=$?
    Say "fresh: '$command' ended with $rc after $((SECONDS - started)) s"
    [[ $rc -eq 0 ]] || failed=1
  done
  [[ $failed -eq 0 ]] || Fail "fresh: not everything works on a minimal Debian 12"
  Say "fresh: all $# commands work on a minimal Debian 12"
}
