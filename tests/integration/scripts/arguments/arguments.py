"""Prints what reached it, byte for byte."""
import os
import sys

for argument in sys.argv[1:]:
    print(f"argument {argument!a}")
print("environment", ascii(os.environ.get("MESSAGE")), ascii(os.environ["LANG"]))
print("folder", os.path.basename(os.getcwd()))
