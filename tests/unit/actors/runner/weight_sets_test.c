/* SPDX-License-Identifier: Apache-2.0 */
/* The set of tensors is checked by each rank before a weight is sent: none missing, none extra,
 * types, shapes, groups and overrides as the configuration has them; by ranks that hold the files,
 * some of them or none, and when the table comes from others. */
#include "protocol/memory.h"
#include "tests/unit/actors/runner/weight_worlds.h"

#include <stdio.h>
#include <string.h>

#define DOWN "\"mode\": \"affine\", \"model.layers.1.mlp.down_proj\": "

/* What a configuration says otherwise, and what it is refused for. */
static const struct disagreement {
    const char *from;
    const char *to;
    enum status status;
    const char *says;
} disagreements[] = {
    {"_layers\": 4", "_layers\": 5", STATUS_NOT_FOUND,
     "model.layers.4.input_layernorm.weight is missing"},
    {"_layers\": 4", "_layers\": 3", STATUS_MALFORMED, "tensor model.layers.3."},
    {"vocab_size\": 768", "vocab_size\": 770", STATUS_MALFORMED,
     "model.embed_tokens.weight is U32"},
    {"intermediate_size\": 384", "intermediate_size\": 448", STATUS_MALFORMED, "mlp.gate_proj"},
    {"head_dim\": 32", "head_dim\": 64", STATUS_MALFORMED, "self_attn."},
    {"bits\": 4", "bits\": 8", STATUS_MALFORMED, "model.embed_tokens.weight is U32"},
    {"group_size\": 64", "group_size\": 32", STATUS_MALFORMED, "model.embed_tokens.scales"},
    {"mode\": \"affine", "mode\": \"mxfp8", STATUS_UNSUPPORTED, "mxfp8"},
    {"\"mode\": \"affine\"", DOWN "{\"group_size\": 64, \"bits\": 8}", STATUS_MALFORMED,
     "model.layers.1.mlp.down_proj.weight is U32"},
    {"\"mode\": \"affine\"", DOWN "{\"group_size\": 128, \"bits\": 4}", STATUS_MALFORMED,
     "model.layers.1.mlp.down_proj.scales"},
    {"\"mode\": \"affine\"", DOWN "false", STATUS_MALFORMED,
     "model.layers.1.mlp.down_proj.scales is there"},
};

static struct model_config *changed_config(const struct world *world,
                                           const struct disagreement *one)
{
    char path[1024];
    char text[4096];
    size_t size = 0;
    struct model_config *config = NULL;
    struct reason reason = {""};
    (void)snprintf(path, sizeof(path), "%s/config.json", world->directory);
    char *whole = file_bytes(path, &size);
    const char *at = strstr(whole, one->from);
    ck_assert_ptr_nonnull(at);
    const int length = snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - whole), whole, one->to,
                                at + strlen(one->from));
    const enum status status =
        model_config_parse(text, (size_t)length, "config.json", &config, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", one->to, reason.text);
    memory_free(whole);
    return config;
}

static void not_expected(void *context, uint32_t receiver, size_t batch, int attempt,
                         uint8_t *bytes, size_t size)
{
    (void)context;
    (void)receiver;
    (void)batch;
    (void)attempt;
    (void)bytes;
    (void)size;
    ck_abort_msg("a weight was sent");
}

/* One rank's configuration is another: it says which tensor, the others end with it. */
static void check_refused(struct world *world, uint32_t which, const struct disagreement *one)
{
    struct model_config *config = changed_config(world, one);
    world->ranks[which].request.config = config;
    for (uint32_t i = 0; i < world->count; i++)
        world->ranks[i].request.sending = not_expected;
    world_run(world);
    for (uint32_t i = 0; i < world->count; i++) {
        const struct rank *rank = &world->ranks[i];
        ck_assert_msg(rank->status == (i == which ? one->status : STATUS_CANCELLED),
                      "%s, rank %u of %u: %s", one->to, i, which, rank->reason.text);
    }
    ck_assert_msg(strstr(world->ranks[which].reason.text, one->says) != NULL, "%s, rank %u: %s",
                  one->to, which, world->ranks[which].reason.text);
    model_config_free(config);
}

/* Rank 0 has all files, rank 1 one of them, rank 2 none. */
START_TEST(a_rank_that_has_all_some_or_none_of_the_files_checks_the_set)
{
    for (size_t i = 0; i < COUNT_OF(disagreements); i++)
        for (uint32_t which = 0; which < 3; which++) {
            struct world world;
            struct scratch scratch;
            world_open_partly_held(&world, &scratch);
            check_refused(&world, which, &disagreements[i]);
            world_close(&world);
            scratch_close(&scratch);
        }
}
END_TEST

/* Ranks 0 and 1 have parts, rank 2 has none. */
START_TEST(ranks_that_hold_the_model_only_together_check_the_set)
{
    for (size_t i = 0; i < COUNT_OF(disagreements); i++)
        for (uint32_t which = 0; which < 3; which++) {
            struct world world;
            struct scratch scratches[RANKS_MAX];
            world_open_parted(&world, scratches, SHARDING_PIPELINE, 3, 2);
            check_refused(&world, which, &disagreements[i]);
            world_close_parted(&world, scratches);
        }
}
END_TEST

/* ---- files of another version ---- */

/* Of the same size, so that no look at sizes sees it; what follows the name stays. */
static void rename_in_header(const struct scratch *scratch, const char *file, const char *from,
                             const char *to)
{
    char path[256];
    size_t size = 0;
    char *bytes = file_bytes(scratch_path(scratch, file, path), &size);
    char *at = memmem(bytes, size, from, strlen(from));
    ck_assert_ptr_nonnull(at);
    ck_assert_uint_eq(strlen(from), strlen(to));
    memcpy(at, to, strlen(to));
    file_put(path, bytes, size);
    memory_free(bytes);
}

/* What a source's header says is what all ranks check. */
START_TEST(a_part_with_another_tensor_is_refused_by_all_ranks)
{
    static const struct {
        const char *from;
        const char *to;
        enum status status;
        const char *says;
    } cases[] = {
        {"down_proj.scales", "down_proj.scalez", STATUS_NOT_FOUND, "down_proj.scales is missing"},
        {"\"dtype\":\"U32\"", "\"dtype\":\"I32\"", STATUS_MALFORMED, " is I32 "},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct world world;
        struct scratch scratches[RANKS_MAX];
        world_open_parted(&world, scratches, SHARDING_TENSOR, 3, 2);
        rename_in_header(&scratches[1], world.names[1], cases[i].from, cases[i].to);
        for (uint32_t rank = 0; rank < world.count; rank++)
            world.ranks[rank].request.sending = not_expected;
        world_run(&world);
        for (uint32_t rank = 0; rank < world.count; rank++) {
            const struct rank *one = &world.ranks[rank];
            ck_assert_msg(one->status == cases[i].status && strstr(one->reason.text, cases[i].says),
                          "rank %u: %s", rank, one->reason.text);
        }
        world_close_parted(&world, scratches);
    }
}
END_TEST

/* It is as long as the others' and in another order: to be read where the table says would be to
 * read another tensor. */
START_TEST(a_file_that_is_not_as_the_table_says_is_named_by_who_holds_it)
{
    static const char *const first[] = {"layers.1.self_attn.q_norm", "layers.1.self_attn.k_norm"};
    for (int is_source = 0; is_source < 2; is_source++) {
        struct world world;
        struct scratch scratch;
        world_open_partly_held(&world, &scratch);
        if (!is_source)
            world.sources[1].rank = 0;
        rename_in_header(&scratch, world.names[1], first[0], "layers.1.self_attn.x_norm");
        rename_in_header(&scratch, world.names[1], first[1], first[0]);
        rename_in_header(&scratch, world.names[1], "layers.1.self_attn.x_norm", first[1]);
        for (uint32_t rank = 0; rank < world.count; rank++)
            world.ranks[rank].request.sending = not_expected;
        world_run(&world);
        ck_assert_int_eq(world.ranks[0].status, STATUS_CANCELLED);
        ck_assert_int_eq(world.ranks[1].status, STATUS_STALE);
        ck_assert_int_eq(world.ranks[2].status, STATUS_CANCELLED);
        ck_assert_msg(strstr(world.ranks[1].reason.text, world.names[1]) != NULL, "%s",
                      world.ranks[1].reason.text);
        world_close(&world);
        scratch_close(&scratch);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("weight_sets");
    const TTest *const tests[] = {
        a_rank_that_has_all_some_or_none_of_the_files_checks_the_set,
        ranks_that_hold_the_model_only_together_check_the_set,
        a_part_with_another_tensor_is_refused_by_all_ranks,
        a_file_that_is_not_as_the_table_says_is_named_by_who_holds_it,
    };
    suite_add(suite, "sets", tests, COUNT_OF(tests));
    return suite;
}
