"""Rank 2 fails; the others wait for it for ever."""
import os
import signal
import sys

if os.environ["RANK"] == "2":
    sys.exit("rank 2 cannot go on")
signal.pause()
