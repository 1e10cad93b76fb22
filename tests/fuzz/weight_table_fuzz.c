/* SPDX-License-Identifier: Apache-2.0 */
/* A received table of any bytes is refused, or packs to the very same bytes. */
#include "actors/runner/engine/weights.h"
#include "protocol/memory.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct tensor_table *table = NULL;
    struct reason reason = {""};
    if (weight_table_parse(bytes, size, &table, &reason) != STATUS_OK)
        return 0;
    uint8_t *packed = NULL;
    size_t packed_size = 0;
    if (weight_table_pack(table, &packed, &packed_size, &reason) != STATUS_OK ||
        packed_size != size || memcmp(packed, bytes, size) != 0)
        abort();
    memory_free(packed);
    tensor_table_free(table);
    return 0;
}
