"""Compiles libmuster_client into the package.  All else is in pyproject.toml."""

import os
import re

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CLIENT = "runtime/client"
SOURCES = ["ask_posix.c", "channel_posix.c", "checkpoint_codec.c", "client_posix.c", "codec.c",
           "environment_posix.c", "load_posix.c", "reporter.c", "save_posix.c", "saves.c", "share.c",
           "stage_posix.c", "stop_plan.c"]


class BuildLibrary(build_ext):
    """A plain shared library, which knows nothing of Python."""

    def get_ext_filename(self, fullname):
        return os.path.join(*fullname.split(".")) + ".so"

    def get_export_symbols(self, ext):
        return ext.export_symbols


def version():
    with open("CMakeLists.txt", encoding="utf-8") as file:
        return re.search(r"project\(muster VERSION ([0-9.]+)", file.read())[1]


os.makedirs("build/python", exist_ok=True)  # Where setup.cfg has what it writes.
setup(
    version=version(),
    ext_modules=[Extension(
        "muster.libmuster_client",
        sources=[f"{CLIENT}/{name}" for name in SOURCES],
        include_dirs=["."],
        extra_compile_args=["-std=c99", "-pedantic", "-fvisibility=hidden"],
        libraries=["m"])],
    cmdclass={"build_ext": BuildLibrary})
