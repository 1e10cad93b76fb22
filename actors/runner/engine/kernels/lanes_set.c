/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a set written with lanes, and whether this CPU runs it. */
#include "actors/runner/engine/kernels/lanes.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#define KERNEL_TEXT_NOW(set) #set
#define KERNEL_TEXT(set) KERNEL_TEXT_NOW(set)
#define KERNEL_GETTER_NOW(set) kernel_set_##set
#define KERNEL_GETTER(set) KERNEL_GETTER_NOW(set)

static bool runs_here(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool runs = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("f16c");
#if defined(__AVX512VNNI__)
    runs = runs && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
#endif
    return runs;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return true; /* every 64-bit ARM processor of Apple's has dot products */
#endif
}

const struct kernel_set *KERNEL_GETTER(KERNEL_SET)(void)
{
    static const struct kernel_set set = {
        .name = KERNEL_TEXT(KERNEL_SET),
        .prepare = KERNEL_NAME(prepare),
        .matmul = KERNEL_NAME(matmul),
        .matmul_bytes = KERNEL_NAME(matmul_bytes),
        .has_bytes = matrix_has_bytes,
        .rms_norm = KERNEL_NAME(rms_norm),
        .swiglu = KERNEL_NAME(swiglu),
        .rope = KERNEL_NAME(rope),
        .attend = KERNEL_NAME(attend),
        .attend_many = KERNEL_NAME(attend_many),
        .delta_step = KERNEL_NAME(delta_step),
        .to_bf16 = KERNEL_NAME(to_bf16),
        .to_bytes = KERNEL_NAME(to_bytes),
        .spin = KERNEL_NAME(spin),
    };
    return runs_here() ? &set : NULL;
}
