/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world_stage: the ranks of a generation in one process: their worlds and rank 0's serving are the
 * runner's own; the stage is their actor loops, sockets and MPI (collective_threads).
 *
 * Owner    a test; aborts it when something fails that should not.
 * Memory   what was said is kept until stage_close.
 * Threads  one per rank above 0; rank 0 is the test's own.
 */
#ifndef TROUPE_TESTS_UNIT_ACTORS_RUNNER_WORLD_STAGE_H
#define TROUPE_TESTS_UNIT_ACTORS_RUNNER_WORLD_STAGE_H

#include "actors/runner/serving.h"

#include <pthread.h>

#define STAGE_RANKS_MAX 4u
#define STAGE_CHATS_MAX 32u
#define STAGE_MODEL "scripts/demo-model/model"

struct stage;

struct stage_rank {
    struct stage *stage;
    struct rank_world world;
    struct collective *member;
    pthread_t thread;
    enum status status; /* how its thread ended */
    struct reason reason;
};

/* What rank 0 said about one chat. */
struct stage_answer {
    struct u32s ids;
    char text[16384];
    char reasoning[4096];
    char calls[4096]; /* name and arguments, one after the other */
    size_t text_size;
    uint64_t text_end;
    uint32_t prompt_tokens;
    uint32_t answer_tokens;
    struct u32s prompt_ids;
    uint32_t tokens_max;
    enum finish finish;     /* FINISH_NONE: not over */
    enum status refused;    /* STATUS_OK: accepted */
    char sentence[512];
    uint32_t prefill_words;
    double logprob_last;
    uint32_t top_last;
    size_t piece_bytes;
};

struct stage {
    struct stage_rank ranks[STAGE_RANKS_MAX];
    uint32_t rank_count;
    enum sharding sharding;
    struct collective_threads *collective;
    struct serving serving;
    struct stage_answer answers[STAGE_CHATS_MAX]; /* by number */
    /* Sees each message between ranks; may change it; false loses it. */
    bool (*passing)(struct stage *stage, uint32_t source, uint32_t target, struct message *message);
    _Atomic unsigned passed;
    _Atomic bool is_over;
};

struct stage_options {
    enum sharding sharding;
    uint32_t ranks;
    /* Of a pipeline of tensor groups: the ranks of each, and the shares of all if not 0. */
    uint32_t sizes[STAGE_RANKS_MAX];
    uint32_t size_count;
    uint64_t shares[STAGE_RANKS_MAX];
    uint32_t context;
    uint32_t positions; /* of all chats together; 0: one context */
    enum kv_format kv_format;
    /* As the settings; 0: their defaults. */
    uint32_t reserve;
    uint32_t chats;
    uint32_t prefill_rows;
    enum mode mode;
    bool has_one_copy;     /* only rank 0 has the weight files */
    const char *directory; /* NULL: the shipped model */
    uint32_t sibling_limit_ms;
};

/* A chat as a gateway asks for it; zero is: greedy, no limit. */
struct stage_ask {
    const char *user;     /* one message; or */
    const char *messages; /* JSON; or */
    const char *prompt;   /* plain text */
    double temperature;
    uint64_t seed;
    uint32_t tokens_max;
    const char *stop;
    const char *demand; /* JSON */
    const char *tools;  /* JSON */
    bool ignore_eos;
    bool has_logprobs;
    uint32_t top_logprobs;
    void (*sample)(struct sampling_asked *asked); /* NULL: no more than that */
    uint32_t attempt;
    /* Resumed: what was accepted, and so many ids and bytes of what was said. */
    const struct stage_answer *resumed;
    uint32_t sent;
    uint64_t sent_text;
};

void stage_open(struct stage *stage, const struct stage_options *options);
void stage_close(struct stage *stage);
void stage_ask(struct stage *stage, uint64_t number, const struct stage_ask *ask);
/* Steps until no chat is left; aborts after a bound that no honest run reaches. */
void stage_run(struct stage *stage);
/* One step; what it returned is OK. */
void stage_step(struct stage *stage);
void stage_message(const struct stage_ask *ask, uint64_t number, struct message *message_out);
void stage_answer_forget(struct stage_answer *answer);

#endif
