# Part of ./dev: finds what muster left on this machine, by its names, and removes it.

# What every process of a cluster, or at least of a job, has in its environment.
readonly kCookie='^MUSTER_(CLUSTER|JOB)_COOKIE='

# The processes that carry a cookie, except us and our parents.
OurProcesses() {
  local environ pid parent=$BASHPID parents=" "
  while [[ "$parent" -gt 1 ]]; do
    parents+="$parent "
    parent=$(awk '/^PPid:/ { print $2 }' "/proc/$parent/status" 2>/dev/null || echo 0)
  done
  # -z: the entries of an environment end in a zero byte.
  { grep -lzE "$kCookie" /proc/[0-9]*/environ 2>/dev/null || true; } | while read -r environ; do
    pid=${environ#/proc/}
    pid=${pid%/environ}
    [[ "$parents" == *" $pid "* ]] || printf '%s\n' "$pid"
  done
}

OurNamespaces() { ip netns list 2>/dev/null | awk '/^muster-/ { print $1 }'; }
OurInterfaces() { ip -o link 2>/dev/null | awk -F'[ :@]+' '$2 ~ /^muster-/ { print $2 }'; }
# Deepest first, so that each can be removed on its own.
OurMounts() { awk '$5 ~ /\/muster-/ { print $5 }' /proc/self/mountinfo | sort -r; }
OurCgroups() { find /sys/fs/cgroup -depth -type d -path '*/muster-*' 2>/dev/null; }
OurFiles() { find /dev/shm /tmp -mindepth 1 -maxdepth 1 -name 'muster-*' 2>/dev/null; }

Describe() {
  local kind=$1 item
  while read -r item; do
    [[ -n "$item" ]] || continue
    case "$kind" in
      process) printf '  process %s: %s\n' "$item" \
        "$(tr '\0' ' ' 2>/dev/null <"/proc/$item/cmdline" | cut -c1-80)" ;;
      *) printf '  %s %s\n' "$kind" "$item" ;;
    esac
  done
}

ListOurs() {
  OurProcesses | Describe process
  OurNamespaces | Describe namespace
  OurInterfaces | Describe interface
  OurMounts | Describe mount
  OurCgroups | Describe cgroup
  OurFiles | Describe file
}

# Ends every process of ours, again and again while killed ones leave new orphans.
EndProcesses() {
  local round pids
  for round in 1 2 3 4 5 6 7 8 9 10; do
    mapfile -t pids < <(OurProcesses)
    [[ ${#pids[@]} -gt 0 ]] || return 0
    kill -KILL "${pids[@]}" 2>/dev/null || true
    sleep "0.$round"
  done
}

RemoveOurs() {
  local item
  EndProcesses
  OurNamespaces | while read -r item; do ip netns delete "$item"; done
  OurInterfaces | while read -r item; do ip link delete "$item" 2>/dev/null; done
  OurMounts | while read -r item; do umount -l "$(printf '%b' "$item")"; done
  OurCgroups | while read -r item; do rmdir "$item"; done
  OurFiles | while read -r item; do rm -rf --one-file-system "$item"; done
}

# clean [--list | --check [--but FILE]]
Clean() {
  local found check=0 before=/dev/null
  while [[ $# -gt 0 ]]; do
    case "$1" in
      --list)
        ListOurs
        return 0
        ;;
      --check) check=1 ;;
      --but)
        [[ -r "${2:-}" ]] || Misuse "clean: --but wants a file that --list wrote, not '${2:-}'"
        before=$2
        shift
        ;;
      *) Misuse "clean: unknown argument '$1' (--list, --check, --but FILE)" ;;
    esac
    shift
  done
  [[ $check -eq 1 || "$before" == /dev/null ]] || Misuse "clean: --but goes with --check"
  found=$(ListOurs | { grep -vxFf "$before" || true; })
  if [[ -z "$found" ]]; then
    Say "clean: nothing$([[ "$before" == /dev/null ]] || echo ' new') of muster's is on this machine"
    return 0
  fi
  printf '%s\n' "$found"
  if [[ $check -eq 1 ]]; then
    Fail "clean: found $(wc -l <<<"$found") things of muster's (./dev clean removes them)"
  fi
  RemoveOurs || true
  found=$(ListOurs)
  [[ -z "$found" ]] || Fail "clean: could not remove:"$'\n'"$found"
  Say "clean: removed"
}
