/* SPDX-License-Identifier: Apache-2.0 */
/* A config.json of any bytes is refused, or lies within the limits. */
#include "runtime/model_config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct model_config *config = NULL;
    struct reason reason = {""};
    if (model_config_parse((const char *)bytes, size, "fuzz", &config, &reason) != STATUS_OK)
        return 0;
    if (config->layers == 0 || config->layers > MODEL_LAYERS_MAX || config->kv_heads == 0 ||
        config->heads % config->kv_heads != 0 || config->vocab > MODEL_VOCAB_MAX)
        abort();
    model_config_free(config);
    return 0;
}
