/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/kernels/kernels.h"

#include "protocol/status.h"

#include <stdlib.h>
#include <string.h>

#if !defined(__x86_64__)
const struct kernel_set *kernel_set_avx2(void)
{
    return NULL;
}

const struct kernel_set *kernel_set_avx512(void)
{
    return NULL;
}
#endif

#if !defined(__aarch64__)
const struct kernel_set *kernel_set_neon(void)
{
    return NULL;
}
#endif

/* The fastest first. */
static const struct {
    const char *name;
    const struct kernel_set *(*get)(void);
} sets[] = {
    {"avx512", kernel_set_avx512},
    {"avx2", kernel_set_avx2},
    {"neon", kernel_set_neon},
    {"portable", kernel_set_portable},
};

const struct kernel_set *kernel_set_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(sets); i++) {
        if (strcmp(sets[i].name, name) == 0)
            return sets[i].get();
    }
    return NULL;
}

const struct kernel_set *kernel_set_best(void)
{
    const char *wanted = getenv("TROUPE_KERNELS");
    const struct kernel_set *set = wanted ? kernel_set_find(wanted) : NULL;
    for (size_t i = 0; !set && i < COUNT_OF(sets); i++)
        set = sets[i].get();
    return set;
}

const char *kernel_set_name(size_t index)
{
    return index < COUNT_OF(sets) ? sets[index].name : NULL;
}
