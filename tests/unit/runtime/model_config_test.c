/* SPDX-License-Identifier: Apache-2.0 */
/* What config.json may not say, each refused with the key in the sentence; and what it may. */
#include "runtime/model_config.h"
#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

/* Small and whole; what a test adds comes after it, so that it must be of other keys. */
#define LLAMA                                                                                      \
    "\"model_type\":\"llama\",\"num_hidden_layers\":2,\"hidden_size\":64,"                         \
    "\"num_attention_heads\":4,\"intermediate_size\":64,\"vocab_size\":32,\"rms_norm_eps\":1e-5"
#define EXPERTS                                                                                    \
    "\"num_hidden_layers\":2,\"hidden_size\":64,\"num_attention_heads\":4,\"vocab_size\":32,"      \
    "\"rms_norm_eps\":1e-5,\"head_dim\":16,\"intermediate_size\":64"
#define STEP "\"model_type\":\"step3p5\",\"num_attention_groups\":2," EXPERTS
#define LATENT                                                                                     \
    "\"model_type\":\"deepseek_v3\",\"kv_lora_rank\":32,\"qk_nope_head_dim\":16,"                  \
    "\"qk_rope_head_dim\":8,\"v_head_dim\":16,\"moe_intermediate_size\":32," EXPERTS

struct row {
    const char *text;
    const char *named; /* in the sentence; NULL: it is accepted */
};

static const struct row rows[] = {
    {LLAMA, NULL},
    {STEP, NULL},
    {LATENT, NULL},
    {LLAMA ",\"auto_map\":{\"AutoModel\":\"own.Model\"}", NULL},
    {"\"model_type\":\"zorg\",\"auto_map\":{}", "auto_map"},
    {"\"model_type\":\"zorg\"", "zorg"},
    {"\"model_type\":7", "model_type"},
    {LLAMA ",\"model_file\":\"own.py\"", "model_file"},
    {LLAMA ",\"vocab_size\":32", "vocab_size"},
    /* sizes */
    {LLAMA ",\"head_dim\":-1", "head_dim is -1"},
    {LLAMA ",\"head_dim\":0", "head_dim is 0"},
    {LLAMA ",\"head_dim\":1000000000000000000", "head_dim is 1000000000000000000"},
    {LLAMA ",\n\"head_dim\":1000000000000000000000", "config.json, line 2: too big integer"},
    {LLAMA ",\"head_dim\":15", "head_dim 15"},
    {LLAMA ",\"head_dim\":1.5", "head_dim is not"},
    {LLAMA ",\"head_dim\":\"16\"", "head_dim is not"},
    {LLAMA ",\"num_key_value_heads\":3", "3 key-value heads"},
    {LATENT ",\"n_routed_experts\":4,\"num_experts_per_tok\":5", "5 of 4 experts"},
    {LATENT ",\"n_routed_experts\":6,\"num_experts_per_tok\":1,\"n_group\":4", "4 groups"},
    {LATENT ",\"scoring_func\":\"softmax\"", "scoring_func"},
    /* ropes */
    {LLAMA ",\"rope_scaling\":{\"type\":\"mrope\"}", NULL},
    {LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", "dynamic"},
    {LLAMA ",\"rope_scaling\":{\"rope_type\":7}", "rope_type"},
    {LLAMA ",\"rope_scaling\":7", "rope_scaling"},
    {LLAMA ",\"rope_parameters\":[]", "rope_parameters"},
    {LLAMA ",\"rope_scaling\":{\"rope_type\":\"linear\"}", "factor"},
    {LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,\"truncate\":\"no\"}",
     "truncate"},
    {LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,\"beta_fast\":0}", "beta_fast"},
    {LLAMA ",\"rope_theta\":1,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}",
     "rope_theta"},
    /* kinds of layers */
    {LLAMA ",\"layer_types\":\"full\"", "layer_types"},
    {LLAMA ",\"layer_types\":[\"full_attention\",\"zorg\"]", "zorg"},
    {LLAMA ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]", "sliding_window"},
    {STEP ",\"moe_layers_enum\":3", "moe_layers_enum"},
    {STEP ",\"moe_layers_enum\":\"0, 1\"", NULL},
    {STEP ",\"moe_layers_enum\":\"zorg\"", "moe_layers_enum is zorg"},
    {STEP ",\"rope_parameters\":{\"rope_type\":\"zorg\"}", "rope scaling zorg"},
    {STEP ",\"layer_types\":[\"full_attention\",\"sliding_attention\"],"
          "\"attention_other_setting\":{\"num_attention_heads\":4,\"num_attention_groups\":2,"
          "\"head_dim\":32}", "head_dim in attention_other_setting"},
    {STEP ",\"swiglu_limits\":3", "swiglu_limits"},
    {STEP ",\"partial_rotary_factors\":0.5", "partial_rotary_factors"},
    {STEP ",\"attention_other_setting\":[]", "attention_other_setting"},
    {STEP ",\"rope_theta\":[10000]", "rope_theta of layer 1"},
    /* quantisation */
    {LLAMA ",\"quantization_config\":{\"quant_method\":\"mxfp4\"}", NULL},
    {LLAMA ",\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4}", "awq"},
    {LLAMA ",\"quantization_config\":{\"quant_method\":\"fp8\"}", "fp8"},
    {LLAMA ",\"text_config\":{\"quantization_config\":{\"quant_method\":\"gptq\"}}", "gptq"},
    {LLAMA ",\"quantize_activations\":true", "quantize_activations"},
    {LLAMA ",\"quantization\":{\"bits\":4,\"group_size\":64,\"mode\":\"zorg\"}", "zorg"},
    {LLAMA ",\"quantization\":{\"bits\":4,\"group_size\":64,\"a.b\":7}", "a.b"},
};

START_TEST(each_is_accepted_or_refused_by_its_key)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[1024];
        struct reason reason = {""};
        struct model_config *config = NULL;
        int length = snprintf(text, sizeof text, "{%s}", rows[i].text);
        enum status status = model_config_parse(text, (size_t)length, "config.json", &config,
                                                &reason);
        ck_assert_msg((status == STATUS_OK) == !rows[i].named, "%s: %s", rows[i].text,
                      reason.text);
        ck_assert_msg(!rows[i].named || strstr(reason.text, rows[i].named), "%s: %s",
                      rows[i].text, reason.text);
        model_config_free(config);
    }
}
END_TEST

static void parse(const char *text, struct model_config **config_out)
{
    struct reason reason = {""};
    enum status status = model_config_parse(text, strlen(text), "config.json", config_out,
                                            &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
}

START_TEST(yarn_rounds_unless_truncate_says_not_to)
{
    static const char *const keys[] = {"", ",\"truncate\":true", ",\"truncate\":false"};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        char text[1024];
        struct model_config *config = NULL;
        (void)snprintf(text, sizeof text,
                       "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4%s}}",
                       keys[i]);
        parse(text, &config);
        ck_assert_int_eq(config->ropes[0].kind, ROPE_YARN);
        ck_assert(config->ropes[0].rounds == (i < 2));
        model_config_free(config);
    }
}
END_TEST

/* Of a single expert sigmoid weights count as they are, as in mlx-lm. */
START_TEST(one_latent_expert_is_not_normalised)
{
    struct model_config *config = NULL;
    parse("{" LATENT ",\"n_routed_experts\":4,\"num_experts_per_tok\":1}", &config);
    ck_assert(!config->experts.normalises);
    model_config_free(config);
    parse("{" LATENT ",\"n_routed_experts\":4,\"num_experts_per_tok\":2}", &config);
    ck_assert(config->experts.normalises);
    model_config_free(config);
    parse("{" STEP ",\"moe_num_experts\":4,\"moe_top_k\":1}", &config);
    ck_assert(config->experts.normalises);
    model_config_free(config);
}
END_TEST

START_TEST(entries_of_modules_are_found_in_any_order)
{
    struct model_config *config = NULL;
    parse("{" LLAMA ",\"quantization\":{\"bits\":4,\"group_size\":64,\"c\":false,\"a\":true,"
          "\"b\":{\"bits\":8,\"group_size\":32}}}", &config);
    const struct quantisation_override *b = model_config_override(config, "b");
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(b->quantisation.bits, 8);
    ck_assert_int_eq(model_config_override(config, "a")->kind, OVERRIDE_DEFAULT);
    ck_assert_int_eq(model_config_override(config, "c")->kind, OVERRIDE_DENSE);
    ck_assert_ptr_null(model_config_override(config, "d"));
    model_config_free(config);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("model_config");
    const TTest *const tests[] = {each_is_accepted_or_refused_by_its_key,
                                  yarn_rounds_unless_truncate_says_not_to,
                                  one_latent_expert_is_not_normalised,
                                  entries_of_modules_are_found_in_any_order};
    suite_add(suite, "keys", tests, COUNT_OF(tests));
    return suite;
}
