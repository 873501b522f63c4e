# Part of ./dev: the GPU part alone, on a machine that has CUDA, NCCL, CMake and a C++ compiler, and
# nothing of what .ci/packages.txt names: neither MPI nor gRPC nor GoogleTest, and no network.

readonly kNothingChecked=77  # As ctest's SKIP_RETURN_CODE.

SkipGpu() {
  printf '%s\n' "./dev gpu: SKIPPED, nothing was checked on a GPU: $*"
  exit $kNothingChecked
}

# gpu [--build-only]: configures, builds, checks, measures, and prints one table.
Gpu() {
  local build_only=0 started=$SECONDS generator='Unix Makefiles' rc=0
  while [[ $# -gt 0 ]]; do
    case "$1" in
      --build-only) build_only=1 ;;
      *) Misuse "gpu: unknown argument '$1' (--build-only)" ;;
    esac
    shift
  done
  # The toolkit's installer does not put itself there.
  [[ -d /usr/local/cuda/bin ]] && PATH=$PATH:/usr/local/cuda/bin
  command -v nvcc >/dev/null ||
    SkipGpu "no nvcc in PATH or /usr/local/cuda/bin: install NVIDIA's CUDA toolkit"
  command -v cmake >/dev/null || SkipGpu 'no cmake: 3.25 or later is needed'
  command -v ninja >/dev/null && generator=Ninja
  mkdir -p build
  cmake -S . -B build/gpu -G "$generator" -DMUSTER_GPU_ONLY=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    >build/gpu-configure.log 2>&1 || { cat build/gpu-configure.log && Fail 'gpu: cmake failed'; }
  cmake --build build/gpu -j "$(nproc)"
  [[ -x build/gpu/bin/gpu_check ]] ||
    { cat build/gpu-configure.log && Fail 'gpu: nvcc is there, but CMake cannot use it (above)'; }
  Say "gpu: built in $((SECONDS - started)) s"
  [[ $build_only -eq 0 ]] || return 0
  timeout --kill-after=5 420 build/gpu/bin/gpu_check || rc=$?
  [[ $rc -ne $kNothingChecked ]] || SkipGpu 'it was built; gpu_check says above what is missing'
  [[ $rc -ne 124 && $rc -ne 137 ]] || Fail 'gpu: gpu_check did not end in 7 minutes'
  [[ $rc -eq 0 ]] || Fail "gpu: gpu_check ended with $rc"
  # gpu_check's last line, JSON, stays the last.
  Say >&2 "gpu: all held, after $((SECONDS - started)) s"
}
