#!/bin/sh
# Who am I?  As under torchrun.
set -eu
echo "rank $RANK of $WORLD_SIZE: local $LOCAL_RANK of $LOCAL_WORLD_SIZE, args: $*"
seq 1 100 | awk -v rank="$RANK" -v size="$WORLD_SIZE" '
  $1 % size == rank { sum += $1 } END { print "sum of my share " sum }'
