/* SPDX-License-Identifier: Apache-2.0 */
/* A header of any bytes is refused, or gives tensors that lie in their file without overlap. */
#include "runtime/safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct tensor_table *table = NULL;
    struct reason reason = {""};
    if (safetensors_parse(bytes, size, size, "fuzz", &table, &reason) != STATUS_OK)
        return 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < table->tensor_count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        if (tensor->offset > size || tensor->size > size - tensor->offset ||
            tensor_table_find(table, tensor->name) != tensor)
            abort();
        sum += tensor->size;
    }
    if (sum > size)
        abort();
    tensor_table_free(table);
    return 0;
}
