/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/matcher.h"

#include "actors/runner/engine/grammar/mask.h"
#include "protocol/memory.h"

#include <string.h>

struct matcher {
    struct grammar *grammar;
    struct positions *positions; /* in which it stands */
    uint32_t here;
    bool has_ended; /* a token said so */
};

/* ---- limits ---- */

/* After a call that ran into a limit: once more in new positions. */
static bool may_retry(struct matcher *matcher, unsigned attempt, enum status *status)
{
    *status = matcher->positions->failed;
    matcher->positions->failed = STATUS_OK;
    if (*status != STATUS_TOO_LARGE || attempt > 0 ||
        matcher->positions->steps > POSITIONS_STEPS_MAX)
        return false;
    *status = grammar_renew(matcher->grammar, &matcher->positions, &matcher->here);
    return *status == STATUS_OK;
}

enum status matcher_mask(struct matcher *matcher, const uint32_t **mask_out, struct reason *reason)
{
    const struct vocabulary *vocabulary = matcher->grammar->vocabulary;
    for (unsigned attempt = 0;; attempt++) {
        enum status status = STATUS_OK;
        matcher->positions->steps = 0;
        const uint32_t *mask = mask_of(matcher->positions, vocabulary, matcher->here);
        if (mask) {
            *mask_out = mask;
            return STATUS_OK;
        }
        if (!may_retry(matcher, attempt, &status))
            return grammar_refuse(status, reason);
    }
}

/* ---- tokens ---- */

static enum status after_bytes(struct matcher *matcher, const char *bytes, size_t size,
                               uint32_t *place_out)
{
    for (unsigned attempt = 0;; attempt++) {
        enum status status = STATUS_OK;
        uint32_t place = matcher->here;
        matcher->positions->steps = 0;
        for (size_t at = 0; at < size && place != POSITION_DEAD; at++)
            place = positions_next(matcher->positions, place, (uint8_t)bytes[at]);
        *place_out = place;
        if (matcher->positions->failed == STATUS_OK)
            return STATUS_OK;
        if (!may_retry(matcher, attempt, &status))
            return status;
    }
}

bool matcher_advance_bytes(struct matcher *matcher, const char *bytes, size_t size)
{
    uint32_t place = POSITION_DEAD;
    if (after_bytes(matcher, bytes, size, &place) != STATUS_OK || place == POSITION_DEAD)
        return false;
    matcher->here = place;
    return true;
}

enum status matcher_advance(struct matcher *matcher, uint32_t id, struct reason *reason)
{
    const struct vocabulary *vocabulary = matcher->grammar->vocabulary;
    if (id < vocabulary->rows && !matcher->has_ended) {
        const struct vocabulary_text *forms[] = {vocabulary_marker(vocabulary, id),
                                                 &vocabulary->by_id[id]};
        for (size_t at = 0; at < COUNT_OF(forms); at++) {
            uint32_t place = POSITION_DEAD;
            if (!forms[at] || !forms[at]->bytes)
                continue;
            const enum status status =
                after_bytes(matcher, forms[at]->bytes, forms[at]->size, &place);
            if (status != STATUS_OK)
                return grammar_refuse(status, reason);
            if (place == POSITION_DEAD)
                continue;
            matcher->here = place;
            return STATUS_OK;
        }
        if (matcher_may_end(matcher) && (vocabulary->end_mask[id / 32] >> (id % 32) & 1u)) {
            matcher->has_ended = true;
            return STATUS_OK;
        }
    }
    return refuse(reason, STATUS_INVALID, "token %u does not fit the grammar", id);
}

bool matcher_may_end(const struct matcher *matcher)
{
    return matcher->has_ended || matcher->positions->list[matcher->here].accepts;
}

bool matcher_is_over(const struct matcher *matcher)
{
    const struct position *here = &matcher->positions->list[matcher->here];
    return matcher->has_ended || (here->accepts && here->count == 0);
}

size_t matcher_share(const struct matcher *matcher)
{
    const struct positions *positions = matcher->positions;
    const bool is_newest = positions == matcher->grammar->newest; /* which the grammar holds too */
    return positions_memory(positions) / (positions->holders - is_newest);
}

enum status matcher_forget(struct matcher *matcher, struct reason *reason)
{
    const enum status status =
        grammar_renew(matcher->grammar, &matcher->positions, &matcher->here);
    return status == STATUS_OK ? STATUS_OK : grammar_refuse(status, reason);
}

/* ---- life ---- */

void matcher_restart(struct matcher *matcher)
{
    matcher->has_ended = false;
    matcher->here = POSITION_START;
}

enum status matcher_follow(struct grammar *grammar, struct matcher **matcher_out,
                           struct reason *reason)
{
    struct matcher *matcher = memory_zeroed(1, sizeof(*matcher));
    if (!matcher)
        return grammar_refuse(STATUS_NO_MEMORY, reason);
    grammar_hold(grammar);
    positions_hold(grammar->newest);
    matcher->grammar = grammar;
    matcher->positions = grammar->newest;
    matcher_restart(matcher);
    *matcher_out = matcher;
    return STATUS_OK;
}

enum status matcher_open(struct automaton *automaton, const struct vocabulary *vocabulary,
                         struct matcher **matcher_out, struct reason *reason)
{
    struct grammar *grammar = NULL;
    enum status status = grammar_open(automaton, vocabulary, &grammar, reason);
    if (status == STATUS_OK)
        status = matcher_follow(grammar, matcher_out, reason);
    grammar_release(grammar);
    return status;
}

void matcher_close(struct matcher *matcher)
{
    if (!matcher)
        return;
    positions_release(matcher->positions);
    grammar_release(matcher->grammar);
    memory_free(matcher);
}

size_t matcher_memory(const struct matcher *matcher)
{
    const size_t own =
        matcher->positions == matcher->grammar->newest ? 0 : positions_memory(matcher->positions);
    return sizeof(*matcher) + own + grammar_memory(matcher->grammar);
}
