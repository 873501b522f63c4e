#!/usr/bin/env bash
# The GPU part configures and builds where there is nothing but CUDA, CMake and a compiler: all else is
# hidden from CMake here.  And its program says, without a GPU, that it checked nothing.
# usage: build_test.sh ROOT_OF_THE_REPOSITORY BUILD_FOLDER
set -euo pipefail
root=$1 build=$2
failed=0

hidden=()
for package in MPI gRPC Protobuf GTest benchmark PkgConfig OpenSSL nlohmann_json CLI11 Libevent SQLite3; do
  hidden+=("-DCMAKE_DISABLE_FIND_PACKAGE_$package=ON")
done
# Not optimised: what is asked is whether it builds.
cmake -S "$root" -B "$build" -DMUSTER_GPU_ONLY=ON -DCMAKE_CXX_FLAGS=-O0 "${hidden[@]}"
cmake --build "$build" -j 2

# Of what is loaded at start, all is the compiler's own.
loaded=$(ldd "$build/bin/gpu_check" | awk '{ print $1 }')
if grep -qEv '^(linux-vdso|libstdc\+\+|libm|libgcc_s|libc|/lib64/ld-linux)' <<<"$loaded"; then
  printf 'gpu_check loads more than it may:\n%s\n' "$loaded"
  failed=1
fi
# The kernels need CUDA's runtime and nothing else of NVIDIA's; no NCCL is linked.
if ldd "$build/bin/libmuster_cuda.so" | grep -E 'nccl|cublas'; then failed=1; fi

rc=0
output=$("$build/bin/gpu_check" 2>&1) || rc=$?
printf '%s\n' "$output"
case $rc in
  0) ;;
  77) grep -q 'SKIPPED, nothing was checked on a GPU: ' <<<"$output" || failed=1 ;;
  *) failed=1 ;;
esac
if [[ $failed -eq 0 ]]; then
  printf '[  PASSED  ] 1 test\n'
else
  printf '[  FAILED  ] 1 test\n'
fi
exit $failed
