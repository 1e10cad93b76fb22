/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/kernels/kernels.h"

#include <string.h>

#if !defined(__x86_64__)
const struct kernel_set *kernel_set_avx2(void)
{
    return NULL;
}
#endif

const struct kernel_set *kernel_set_best(void)
{
    const struct kernel_set *set = kernel_set_avx2();
    return set ? set : kernel_set_portable();
}

const struct kernel_set *kernel_set_find(const char *name)
{
    const struct kernel_set *sets[] = {kernel_set_portable(), kernel_set_avx2()};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (sets[i] && strcmp(sets[i]->name, name) == 0)
            return sets[i];
    }
    return NULL;
}
