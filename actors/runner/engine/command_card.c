/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/commands.h"
#include "runtime/model_card.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static uint64_t sum_of(const uint64_t *bytes, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += bytes[i];
    return sum;
}

static json_t *units_json(const struct partition_units *units)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < units->class_count; i++) {
        const struct partition_class *class = &units->classes[i];
        (void)json_array_append_new(list, json_pack("{s:s, s:i, s:i}", "kind",
                                                    partition_kind_name(class->kind), "units",
                                                    class->units, "layers", class->layers));
    }
    return list;
}

static int print_json(const struct model_card *card)
{
    char text[64];
    json_t *root = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:s, s:b, s:I, s:I, s:I, s:I, s:I,"
        " s:o}",
        "model_type", card->model_type, "layers", card->layers, "hidden", card->hidden, "heads",
        card->heads, "kv_heads", card->kv_heads, "head_dim", card->head_dim, "intermediate",
        card->intermediate, "vocab", card->vocab, "context", card->context, "tied", card->tied,
        "quantisation", quantisation_text(&card->quantisation, text), "mixed", card->is_mixed,
        "weight_bytes", (json_int_t)card->weight_bytes, "embedding_bytes",
        (json_int_t)card->embedding_bytes, "head_bytes", (json_int_t)card->head_bytes,
        "attention_bytes", (json_int_t)sum_of(card->attention_bytes, card->layers), "ffn_bytes",
        (json_int_t)sum_of(card->ffn_bytes, card->layers), "units", units_json(&card->units));
    if (!root || json_dumpf(root, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF) {
        json_decref(root);
        return ENGINE_EXIT_FAILED;
    }
    json_decref(root);
    return ENGINE_EXIT_OK;
}

static void print_text(const struct model_card *card)
{
    char text[64];
    printf("%s, %u layers, hidden %u, %u heads / %u kv heads of %u, intermediate %u\n",
           card->model_type, card->layers, card->hidden, card->heads, card->kv_heads,
           card->head_dim, card->intermediate);
    printf("vocabulary %u%s, context %u\n", card->vocab, card->tied ? " (tied head)" : "",
           card->context);
    printf("%s%s, %.1f MB of weights\n", quantisation_text(&card->quantisation, text),
           card->is_mixed ? " and others" : "", (double)card->weight_bytes / 1e6);
    printf("cut units: %u vocabulary rows", card->vocab);
    for (uint32_t i = 0; i < card->units.class_count; i++)
        printf("; %u of %s in %u layers", card->units.classes[i].units,
               partition_kind_name(card->units.classes[i].kind), card->units.classes[i].layers);
    printf("\n");
    for (size_t i = 0; i < card->file_count; i++)
        printf("%12llu  %s%s\n", (unsigned long long)card->files[i].size, card->files[i].name,
               card->files[i].is_weight ? "  (weights)" : "");
}

int engine_command_card(int argc, char **argv)
{
    const char *model = NULL;
    bool as_json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            as_json = true;
        else if (strcmp(argv[i], "--model") == 0 && i + 1 < argc)
            model = argv[++i];
        else
            return engine_command_usage("card", argv[i]);
    }
    if (!model)
        return engine_command_usage("card", "--model DIR is missing");
    struct model_card *card = NULL;
    struct reason reason = {""};
    enum status status = model_card_read(model, MODEL_CARD_WEIGHTS_ONLY, &card, &reason);
    if (status != STATUS_OK)
        return engine_command_failed(status, &reason);
    int code = ENGINE_EXIT_OK;
    if (as_json)
        code = print_json(card);
    else
        print_text(card);
    model_card_free(card);
    return code;
}
