/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff: where two logs part, and what each has that the other has not.
 */
#include "runtime/tools/troupe_log/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct side {
    const char *path;
    const char *mark;
    struct event_log_reader *reader;
    struct event_record record; /* its body is borrowed until the next one */
    enum status status;         /* STATUS_OK: `record` is valid; STATUS_ENDED */
    uint64_t printed;
    uint64_t left; /* events beyond the common prefix */
};

static enum status side_open(struct side *side, const char *path, const char *mark,
                             struct reason *reason)
{
    *side = (struct side){.path = path, .mark = mark};
    return event_log_reader_open(path, NULL, &side->reader, reason);
}

/* STATUS_OK also at the end; anything else is a failure. */
static enum status side_next(struct side *side, struct reason *reason)
{
    side->status = event_log_reader_next(side->reader, &side->record, reason);
    return side->status == STATUS_ENDED ? STATUS_OK : side->status;
}

static bool are_equal(const struct side *a, const struct side *b)
{
    return a->status == STATUS_OK && b->status == STATUS_OK &&
           a->record.stamp.index == b->record.stamp.index &&
           memcmp(&a->record.stamp.chain, &b->record.stamp.chain,
                  sizeof(a->record.stamp.chain)) == 0;
}

/* Prints the rest of one side, at most the limit. */
static enum status side_print_rest(struct side *side, const struct inspect_options *options,
                                   struct reason *reason)
{
    enum status status = STATUS_OK;
    while (status == STATUS_OK && side->status == STATUS_OK) {
        struct event event;
        event_init(&event, &side->record);
        if (event_is_wanted(&event, options)) {
            side->left++;
            if (side->printed < options->limit) {
                side->printed++;
                status = event_print(&event, options, side->mark);
            }
        }
        event_fini(&event);
        if (status == STATUS_OK)
            status = side_next(side, reason);
    }
    return status;
}

/* Both stand at the first index that both have. */
static enum status align(struct side *a, struct side *b, struct reason *reason)
{
    uint64_t first_a = event_log_reader_stamp(a->reader).index + 1;
    uint64_t first_b = event_log_reader_stamp(b->reader).index + 1;
    uint64_t first = first_a > first_b ? first_a : first_b;
    enum status status = event_log_reader_seek(a->reader, first, reason);
    return status == STATUS_OK ? event_log_reader_seek(b->reader, first, reason) : status;
}

static enum status compare(struct side *a, struct side *b, const struct inspect_options *options,
                           struct event_stamp *common_out, struct reason *reason)
{
    enum status status = align(a, b, reason);
    struct event_stamp common = event_log_reader_stamp(a->reader);
    struct event_stamp other = event_log_reader_stamp(b->reader);
    if (status == STATUS_OK && (common.index != other.index ||
                                memcmp(&common.chain, &other.chain, sizeof(other.chain)) != 0))
        common = (struct event_stamp){0};
    if (status == STATUS_OK)
        status = side_next(a, reason);
    if (status == STATUS_OK)
        status = side_next(b, reason);
    while (status == STATUS_OK && are_equal(a, b)) {
        common = a->record.stamp;
        status = side_next(a, reason);
        if (status == STATUS_OK)
            status = side_next(b, reason);
    }
    if (status == STATUS_OK)
        status = side_print_rest(a, options, reason);
    if (status == STATUS_OK)
        status = side_print_rest(b, options, reason);
    *common_out = common;
    return status;
}

static int report(const struct side *a, const struct side *b, const struct event_stamp *common,
                  const struct inspect_options *options)
{
    bool same = a->left == 0 && b->left == 0;
    if (options->json)
        (void)printf("{\"same\": %s, \"common\": %" PRIu64 ", \"only_first\": %" PRIu64
                     ", \"only_second\": %" PRIu64 "}\n",
                     same ? "true" : "false", common->index, a->left, b->left);
    else if (same)
        (void)printf("the same up to event %" PRIu64 ", the last of both\n", common->index);
    else
        (void)printf("the same up to event %" PRIu64 "; then %" PRIu64 " only in %s (-), %" PRIu64
                     " only in %s (+)\n", common->index, a->left, a->path, b->left, b->path);
    return same ? EXIT_FINE : EXIT_DIFFERS;
}

int inspect_diff(const struct inspect_options *options)
{
    struct side a = {0};
    struct side b = {0};
    struct reason reason = {""};
    struct event_stamp common = {0};
    enum status status = side_open(&a, options->words[0], "-", &reason);
    if (status == STATUS_OK)
        status = side_open(&b, options->words[1], "+", &reason);
    if (status == STATUS_OK)
        status = compare(&a, &b, options, &common, &reason);
    event_log_reader_close(a.reader);
    event_log_reader_close(b.reader);
    if (status != STATUS_OK)
        return complain_status(status, &reason);
    return report(&a, &b, &common, options);
}
