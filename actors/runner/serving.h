/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serving: rank 0 decides what each step computes: one row for every chat that decodes, and at most
 * `prefill_rows` of the prompts that are still being read, so that no prompt makes the others wait
 * longer than these take.
 *
 * Chats wait in order of arrival and run up to `chats_max` at once, each with room in the cache for
 * its prompt and what it may say, at most `reserve_tokens` of that.  Beyond, it takes pages as it
 * goes; when none is left the youngest goes back to the queue and is computed again from its ids,
 * never failed.  Prompts share the rows of a step equally, so that a short one does not wait for a
 * long one; what they leave goes to the oldest.
 *
 * Owner    the engine thread.
 * Memory   the chats.
 * Threads  the engine thread's.
 * Fails    what rank_world_forward fails with: the generation must end.  A failure of one chat is
 *          told to its client only.
 */
#ifndef TROUPE_ACTORS_RUNNER_SERVING_H
#define TROUPE_ACTORS_RUNNER_SERVING_H

#include "actors/runner/chat.h"
#include "actors/runner/rank_world.h"
#include "actors/runner/serving_pace.h"

#define SERVING_CHATS_MAX RANK_SEQUENCES_MAX
#define SERVING_PREFILL_ROWS_MAX (STEP_ROWS_MAX - SERVING_CHATS_MAX)

/* What all running answers may have learned of their grammars; beyond it they forget, the largest
 * first. */
#define SERVING_GRAMMAR_BYTES_MAX ((size_t)256 << 20)

struct serving_settings {
    uint32_t reserve_tokens; /* of an answer, kept from its beginning; the instance's */
    uint32_t chats_max;      /* running at once, to SERVING_CHATS_MAX; the instance's */
    uint32_t prefill_rows;   /* of prompts in a step, to SERVING_PREFILL_ROWS_MAX; the node's */
    size_t grammar_bytes;    /* to SERVING_GRAMMAR_BYTES_MAX; 0: that */
};

struct serving {
    struct rank_world *world;
    struct chat_model model;
    struct chat *first; /* oldest first; running and waiting ones */
    struct serving_settings settings; /* set before open */
    /* Takes the word. */
    void (*say)(void *target, uint64_t number, struct message *word);
    void *target;
    struct serving_pace pace;
    uint64_t pace_changes; /* of it */
};

MUST_CHECK enum status serving_open(struct serving *serving, struct rank_world *world,
                                    const char *directory, struct reason *reason);
void serving_close(struct serving *serving);
/* A generate message; refused ones are answered here. */
MUST_CHECK enum status serving_submit(struct serving *serving, const struct message *message,
                                      uint64_t number);
MUST_CHECK enum status serving_cancel(struct serving *serving, uint64_t number,
                                      struct reason *reason);
bool serving_has_work(const struct serving *serving);
MUST_CHECK enum status serving_step(struct serving *serving, struct reason *reason);
/* A few tokens through all ranks; refuses logits that are not numbers. */
MUST_CHECK enum status serving_canary(struct serving *serving, struct reason *reason);

#endif
