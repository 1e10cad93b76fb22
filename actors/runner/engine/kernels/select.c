/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/kernels/kernels.h"

#include "protocol/status.h"

#include <stdio.h>
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
    const struct kernel_set *set = NULL;
    for (size_t i = 0; !set && i < COUNT_OF(sets); i++)
        set = sets[i].get();
    return set;
}

/* "avx2, portable" */
static const char *names_of_this_cpu(char *text, size_t size)
{
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(sets) && length < size; i++) {
        if (sets[i].get())
            length += (size_t)snprintf(text + length, size - length, "%s%s",
                                       length > 0 ? ", " : "", sets[i].name);
    }
    return text;
}

enum status kernel_set_choose(const char *name, const struct kernel_set **set_out,
                              struct reason *reason)
{
    const char *source = "the option";
    char names[64];
    bool is_known = false;
    if (!name || name[0] == '\0') {
        name = getenv("TROUPE_KERNELS");
        source = "TROUPE_KERNELS";
    }
    bool is_best = !name || name[0] == '\0' || strcmp(name, "best") == 0;
    const struct kernel_set *set = is_best ? kernel_set_best() : kernel_set_find(name);
    if (set) {
        *set_out = set;
        return STATUS_OK;
    }
    for (size_t i = 0; i < COUNT_OF(sets); i++)
        is_known = is_known || strcmp(sets[i].name, name) == 0;
    return refuse(reason, STATUS_INVALID,
                  is_known ? "%s asks for the kernels %.40s, which this CPU cannot run; it runs %s"
                           : "%s asks for the kernels %.40s, which do not exist; this CPU runs %s",
                  source, name, names_of_this_cpu(names, sizeof names));
}

const char *kernel_set_name(size_t index)
{
    return index < COUNT_OF(sets) ? sets[index].name : NULL;
}
