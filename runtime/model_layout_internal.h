/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_layout_internal: what model_layout*.c share while a layout is made.
 */
#ifndef TROUPE_RUNTIME_MODEL_LAYOUT_INTERNAL_H
#define TROUPE_RUNTIME_MODEL_LAYOUT_INTERNAL_H

#include "runtime/model_family.h"

struct layout_making {
    const struct model_config *config;
    const struct tensor_table *table;
    struct model_layout *layout;
    size_t capacity; /* modules there is room for */
    bool *used;      /* [tensor] */
    struct model_wrapper wrapper; /* of these files */
    bool is_shifted;
    struct reason *reason;
};

/* The wrapper of these files. */
struct model_wrapper layout_wrapper(const struct model_family *family,
                                    const struct tensor_table *table);
/* Whether the files have a layer's module of this name, in any form. */
bool layout_has(const struct layout_making *making, const char *name, uint32_t layer);
/* Fills `module`, of a layer's expert or of none (0). */
MUST_CHECK enum status layout_resolve(struct layout_making *making, const struct module_row *row,
                                      uint32_t layer, uint32_t expert,
                                      struct model_module *module);

#endif
