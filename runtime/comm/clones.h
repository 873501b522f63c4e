// MUSTER_CLONES: compiles a function once for each vector width and picks one when the program is
// loaded.
//
// Only for functions whose result does not depend on the width: elementwise arithmetic, and sums
// over a fixed number of lanes.  -ffp-contract=off (everywhere) keeps the clones from fusing.
//
// MUSTER_IVDEP: the loop that follows has no dependence between its iterations.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MUSTER_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define MUSTER_CLONES
#endif

#if defined(__GNUC__) && !defined(__clang__)
#define MUSTER_IVDEP _Pragma("GCC ivdep")
#else
#define MUSTER_IVDEP
#endif
