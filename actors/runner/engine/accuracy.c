/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/accuracy.h"

#include "actors/runner/engine/kernels/unpack.h"

#include <math.h>

#define EXACT_ROUNDING 2e-6
#define BYTE_ROUNDING 4.8e-3
#define BF16_CACHE_ROUNDING 1.6e-3
#define INT8_CACHE_ROUNDING 6.1e-3
#define DEVIATIONS 7.0
#define AMPLIFICATION 2.0
#define LATENT_AMPLIFICATION 3.0
#define DELTA_AMPLIFICATION 4.0
#define PRODUCTS 4.0
#define LATENT_PRODUCTS 6.0
#define DETOUR 0.6
#define SWAP 1.5

/* Whether any product of the forward pass takes 8-bit inputs; routers never do. */
static bool has_byte_products(const struct engine_model *model)
{
    for (size_t i = 0; i < model->layout->module_count; i++) {
        const struct model_module *module = &model->layout->modules[i];
        const struct matrix matrix = {.quantisation = module->quantisation};
        bool is_product = module->rows > 1 && module->role != MODULE_ROUTER &&
                          (module->role != MODULE_EMBEDDING || model_layout_is_tied(model->layout));
        if (is_product && matrix_has_bytes(&matrix))
            return true;
    }
    return false;
}

struct accuracy accuracy_of(const struct engine_model *model, enum engine_mode mode,
                            enum kv_format kv_format)
{
    const struct model_config *config = model->config;
    struct accuracy accuracy = {.rounding = EXACT_ROUNDING, .cache_rounding = EXACT_ROUNDING};
    double amplification = AMPLIFICATION;
    if (mode == ENGINE_FAST) {
        accuracy.rounding = has_byte_products(model) ? BYTE_ROUNDING : EXACT_ROUNDING;
        accuracy.cache_rounding =
            kv_format == KV_INT8 ? INT8_CACHE_ROUNDING : BF16_CACHE_ROUNDING;
    }
    double products = 1.0;
    for (uint32_t i = 0; i < config->layers; i++) {
        bool is_latent = config->shapes[i].mixer == MIXER_LATENT;
        if (config->shapes[i].mixer == MIXER_DELTA)
            amplification = DELTA_AMPLIFICATION;
        else if (is_latent)
            amplification = LATENT_AMPLIFICATION;
        products += is_latent ? LATENT_PRODUCTS : PRODUCTS;
    }
    products *= accuracy.rounding * accuracy.rounding;
    double cached = 2.0 * config->layers * accuracy.cache_rounding * accuracy.cache_rounding;
    accuracy.error = sqrt(2.0) * DEVIATIONS * amplification * sqrt(products + cached);
    if (config->experts.count > 0) {
        accuracy.detour = DETOUR;
        accuracy.swap = SWAP;
    }
    return accuracy;
}
