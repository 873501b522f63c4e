#!/bin/sh
# The conformance suite of process groups as it was built for Open MPI 4.1, with the library of Open
# MPI 5: they have one ABI.
LD_LIBRARY_PATH=$(dirname "$(dirname "$(command -v mpicc)")")/lib
export LD_LIBRARY_PATH
suite=$(command -v conformance_mpi)
ldd "$suite" | grep -qF "$LD_LIBRARY_PATH/libmpi.so.40" || { echo "it would not run with Open MPI 5"; exit 1; }
exec "$suite" hybrid
