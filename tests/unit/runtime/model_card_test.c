/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/memory.h"
#include "runtime/model_card.h"
#include "runtime/model_layout.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL "tests/engine/models/qwen3-untied__affine4-g64"

START_TEST(a_card_says_what_the_directory_holds)
{
    char path[512];
    struct reason reason = {""};
    struct model_card *card = NULL;
    enum status status = model_card_read(source_path(MODEL, path), MODEL_CARD_WEIGHTS_ONLY, &card,
                                         &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    ck_assert_str_eq(card->model_type, "qwen3");
    ck_assert_uint_eq(card->layers, 4);
    ck_assert_uint_eq(card->units.class_count, 2);
    ck_assert_int_eq(card->units.classes[0].kind, PARTITION_ATTENTION);
    ck_assert_uint_eq(card->units.classes[0].layers, 4);
    ck_assert_uint_eq(card->units.classes[0].per_kv, 2);
    ck_assert_uint_eq(card->units.classes[0].units * card->units.classes[0].unit_heads, 12);
    ck_assert_int_eq(card->units.classes[1].kind, PARTITION_FFN);
    ck_assert_uint_eq(card->units.classes[1].units, 6);
    ck_assert_uint_eq(card->units.vocab, 768);
    ck_assert(!card->tied && !card->is_mixed);
    ck_assert_uint_eq(card->embedding_bytes, 768 * (128 / 2 + 2 * 2 * 2));
    ck_assert_uint_eq(card->embedding_bytes, card->head_bytes);
    ck_assert_uint_eq(card->other_bytes, 256);
    uint64_t sum = card->embedding_bytes + card->head_bytes + card->other_bytes;
    for (uint32_t layer = 0; layer < card->layers; layer++)
        sum += card->attention_bytes[layer] + card->ffn_bytes[layer];
    ck_assert_uint_eq(sum, card->weight_bytes);
    ck_assert_uint_eq(model_card_kv_bytes(card, 4), 2 * 4 * 6 * 32 * 4);
    ck_assert_uint_eq(card->file_count, 3);
    ck_assert_str_eq(card->files[1].name, "model.safetensors");
    ck_assert(card->files[1].is_weight && !card->files[0].is_weight);
    model_card_free(card);
    ck_assert_int_eq(model_card_read(path, MODEL_CARD_WITH_TOKENIZER, &card, &reason),
                     STATUS_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(reason.text, "tokenizer.json"));
}
END_TEST

/* config.json of a model with the first occurrence of one text replaced, and its tensors. */
static enum status parse_changed(const char *model, const char *from, const char *to,
                                 struct reason *reason)
{
    char path[512];
    char name[256];
    size_t size = 0;
    snprintf(name, sizeof name, "%s/config.json", model);
    char *text = file_bytes(source_path(name, path), &size);
    char *at = strstr(text, from);
    ck_assert_ptr_nonnull(at);
    size_t before = (size_t)(at - text);
    char changed[4096];
    int length = snprintf(changed, sizeof changed, "%.*s%s%s", (int)before, text, to,
                          at + strlen(from));
    memory_free(text);
    struct model_config *config = NULL;
    reason->text[0] = '\0';
    enum status status = model_config_parse(changed, (size_t)length, "config.json", &config,
                                            reason);
    struct tensor_table *table = NULL;
    struct model_layout *layout = NULL;
    if (status == STATUS_OK)
        status = safetensors_open(source_path(model, path), &table, reason);
    if (status == STATUS_OK)
        status = model_layout_make(config, table, &layout, reason);
    model_layout_free(layout);
    tensor_table_free(table);
    model_config_free(config);
    return status;
}

START_TEST(a_bad_configuration_is_refused_by_the_thing_it_names)
{
    const struct {
        const char *from;
        const char *to;
        enum status status;
        const char *says;
    } cases[] = {
        {"\"qwen3\"", "\"qwen9\"", STATUS_UNSUPPORTED, "qwen9"},
        {"\"attention_bias\": false", "\"model_file\": \"x.py\"", STATUS_UNSUPPORTED, "model_file"},
        {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5", STATUS_NOT_FOUND,
         "model.layers.4.input_layernorm.weight"},
        {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": 4000000000", STATUS_TOO_LARGE,
         "num_hidden_layers"},
        {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": -1", STATUS_TOO_LARGE,
         "num_hidden_layers"},
        {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": 4.5", STATUS_MALFORMED,
         "num_hidden_layers"},
        {"\"vocab_size\": 768", "\"vocab_size\": 769", STATUS_MALFORMED,
         "model.embed_tokens.weight"},
        {"\"intermediate_size\": 384", "\"intermediate_size\": 320", STATUS_MALFORMED,
         "mlp.gate_proj"},
        {"\"head_dim\": 32,", "", STATUS_MALFORMED, "head_dim"},
        {"\"num_key_value_heads\": 6", "\"num_key_value_heads\": 5", STATUS_INVALID, "5 key-value"},
        {"\"bits\": 4", "\"bits\": 8", STATUS_MALFORMED, "model.embed_tokens.weight"},
        {"\"bits\": 4", "\"bits\": 7", STATUS_UNSUPPORTED, "7 bits"},
        {"\"group_size\": 64", "\"group_size\": 32", STATUS_MALFORMED, "scales"},
        {"\"mode\": \"affine\"", "\"mode\": \"mxfp4\"", STATUS_UNSUPPORTED, "mxfp4 4 bits"},
        {"\"mode\": \"affine\"", "\"mode\": \"mxfp5\"", STATUS_UNSUPPORTED, "mxfp5"},
        {"\"mode\": \"affine\"", "\"lm_head\": false", STATUS_MALFORMED, "lm_head.scales"},
        {"\"mode\": \"affine\"", "\"lm_head\": 7", STATUS_MALFORMED, "lm_head"},
        {"\"mode\": \"affine\"", "\"quantize_activations\": true", STATUS_UNSUPPORTED,
         "quantize_activations"},
        {"\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"longrope\"}",
         STATUS_UNSUPPORTED, "longrope"},
        {"\"rope_theta\": 1000000.0,", "", STATUS_MALFORMED, "rope_theta"},
        {"\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 2", STATUS_INVALID, "rms_norm_eps"},
        {"\"torch_dtype\"", "\"vocab_size\"", STATUS_MALFORMED, "duplicate"},
        {"\"attention_bias\": false", "\"rope_parameters\": {}", STATUS_OK, ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct reason reason = {""};
        enum status status = parse_changed(MODEL, cases[i].from, cases[i].to, &reason);
        ck_assert_msg(status == cases[i].status, "%s: %s, %s", cases[i].to, status_name(status),
                      reason.text);
        ck_assert_msg(strstr(reason.text, cases[i].says) != NULL, "%s: %s", cases[i].to,
                      reason.text);
    }
}
END_TEST

START_TEST(biases_the_configuration_names_are_asked_for)
{
    struct reason reason = {""};
    ck_assert_int_eq(parse_changed("tests/engine/models/qwen3_5-slim__affine4-g32",
                                   "\"attention_bias\": false", "\"attention_bias\": true",
                                   &reason),
                     STATUS_NOT_FOUND);
    ck_assert_msg(strstr(reason.text, "self_attn.q_proj.bias is missing") != NULL, "%s",
                  reason.text);
}
END_TEST

START_TEST(a_tied_model_has_no_head_of_its_own)
{
    char path[512];
    struct reason reason = {""};
    struct model_card *card = NULL;
    enum status status =
        model_card_read(source_path("tests/engine/models/qwen3-tied__affine4-g64", path),
                        MODEL_CARD_WEIGHTS_ONLY, &card, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    ck_assert(card->tied);
    ck_assert_uint_eq(card->head_bytes, 0);
    model_card_free(card);
}
END_TEST

START_TEST(no_memory_at_any_call_is_reported)
{
    char path[512];
    struct reason reason = {""};
    enum status status = STATUS_NO_MEMORY;
    source_path(MODEL, path);
    for (uint64_t calls = 0; status != STATUS_OK && calls < 200; calls++) {
        struct model_card *card = NULL;
        memory_fail_after(calls);
        status = model_card_read(path, MODEL_CARD_WEIGHTS_ONLY, &card, &reason);
        memory_fail_after(UINT64_MAX);
        ck_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
        if (status == STATUS_OK)
            model_card_free(card);
    }
    ck_assert_int_eq(status, STATUS_OK);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("model card");
    const TTest *const tests[] = {a_card_says_what_the_directory_holds,
                                  a_bad_configuration_is_refused_by_the_thing_it_names,
                                  biases_the_configuration_names_are_asked_for,
                                  a_tied_model_has_no_head_of_its_own,
                                  no_memory_at_any_call_is_reported};
    suite_add(suite, "model card", tests, COUNT_OF(tests));
    return suite;
}
