#!/usr/bin/env bash
# Runs a test as the user nobody, also when the repository lies where only root may look.
# usage: as_nobody.sh ROOT_OF_THE_REPOSITORY PROGRAM ARGUMENTS...
#
# The program sees the repository at /mnt, in a mount namespace of its own; it finds its neighbours
# in bin/ by its own path.
set -euo pipefail
if [[ $(id -u) -ne 0 ]]; then
  echo "skipped: needs root, to become nobody"
  exit 77
fi
root=$1 program=${2#"$1"/}
shift 2
# shellcheck disable=SC2016
exec unshare --mount --propagation private bash -c '
  mount --bind "$1" /mnt
  cd /mnt
  exec setpriv --reuid=nobody --regid=nogroup --clear-groups "/mnt/$2" "${@:3}"' \
  as_nobody "$root" "$program" "$@"
