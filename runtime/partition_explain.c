/* SPDX-License-Identifier: Apache-2.0 */
/* What a rank holds, in words, and the least that is worth holding. */
#include "runtime/partition_internal.h"

#include <stdio.h>

static uint64_t least_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t partition_least(enum sharding sharding, const struct partition_units *units,
                         const struct partition_costs *costs)
{
    uint64_t least = UINT64_MAX;
    if (sharding == SHARDING_PIPELINE) {
        for (uint32_t i = 0; i < units->layers; i++)
            least = least_of(least, costs->layer_bytes[i]);
        return partition_plus(costs->rank_bytes, least);
    }
    if (units->vocab > 0)
        least = costs->vocab_bytes;
    for (uint32_t i = 0; i < units->class_count; i++)
        least = least_of(least, partition_plus(costs->unit_bytes[i], costs->kv_bytes[i]));
    return partition_plus(costs->whole_bytes, least);
}

/* Units of a class in a layer, on the average of the rank's. */
static double held_of(const struct partition_units *units, const struct partition *p,
                      uint32_t class)
{
    const struct partition_cut *cut = &p->cuts[class];
    uint32_t ordinal = 0;
    uint32_t layers = 0;
    uint64_t held = 0;
    if (p->sharding != SHARDING_PIPELINE_TENSOR)
        return (double)(cut->end - cut->first) * cut->step / cut->layers;
    for (uint32_t i = 0; i < p->layer_end && i < PARTITION_LAYERS_MAX; i++) {
        if ((units->layer_classes[i] >> class & 1u) == 0)
            continue;
        const struct partition_span span = partition_cut_in(cut, ordinal++);
        held += i >= p->layer_first ? span.end - span.first : 0;
        layers += i >= p->layer_first;
    }
    return layers > 0 ? (double)held / layers : 0;
}

/* In heads or columns. */
static size_t explain_cut(const struct partition_units *units, const struct partition *p,
                          uint32_t class, char *text, size_t room)
{
    const struct partition_class *of = &units->classes[class];
    const uint32_t parts =
        of->parts > 0 && of->parts % of->units == 0 ? of->parts : of->units;
    const int length = snprintf(text, room, "%.5g of %u %s, ",
                                held_of(units, p, class) * (parts / of->units), parts,
                                partition_kind_name(of->kind));
    return length > 0 && (size_t)length < room ? (size_t)length : 0;
}

const char *partition_explain(const struct partition_units *units,
                              const struct partition *p, char text_out[PARTITION_SENTENCE_SIZE])
{
    const bool is_staged = p->sharding == SHARDING_PIPELINE_TENSOR;
    const bool is_cut = p->sharding == SHARDING_TENSOR || is_staged;
    size_t used = 0;
    text_out[0] = '\0';
    if (!is_cut) {
        (void)snprintf(text_out, PARTITION_SENTENCE_SIZE, "layers %u to %u of %u%s",
                       p->layer_first, p->layer_end - 1, units->layers,
                       p->has_embedding && p->has_head ? " with embedding and head"
                       : p->has_embedding              ? " with the embedding"
                       : p->has_head                   ? " with the head"
                                                       : "");
        return text_out;
    }
    if (is_staged)
        used = (size_t)snprintf(text_out, PARTITION_SENTENCE_SIZE,
                                "layers %u to %u of %u in stage %u, ", p->layer_first,
                                p->layer_end - 1, units->layers, p->stage);
    for (uint32_t i = 0; i < p->cut_count; i++)
        if (!is_staged || p->cuts[i].end > 0)
            used += explain_cut(units, p, i, text_out + used, PARTITION_SENTENCE_SIZE - used);
    if (!is_staged || p->vocab_end > 0)
        (void)snprintf(text_out + used, PARTITION_SENTENCE_SIZE - used, "%u of %u vocabulary rows",
                       p->vocab_end - p->vocab_first, units->vocab);
    else if (used > 2)
        text_out[used - 2] = '\0'; /* ", " */
    return text_out;
}
