"""Starts on as many nodes as there are, of those that it may have."""
import os

print("rank {RANK} of {WORLD_SIZE}, node {GROUP_RANK} of {GROUP_WORLD_SIZE}".format(**os.environ))
