/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random cuts and bit flips.  Beyond the mark a log recovers to a prefix that holds every
 * acknowledged event; before it the damage is refused with its offset, and then repaired from a
 * peer's copy.  An event is never passed over in silence.
 *
 * TROUPE_LOG_CASES says how many (default 400); the bar runs 10,000.
 */
#include "runtime/event_log.h"
#include "tests/support/check_main.h"
#include "tests/support/memory_disk.h"
#include "tests/support/sample_log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BASE_COUNT 12
#define PATH_SIZE 256

/* A log as it lies on a disk before anything is done to it, and what it must not lose. */
struct base {
    struct memory_disk *disk;
    uint64_t segment_size;
    uint64_t acknowledged;
    bool is_settled; /* both slots of the mark are of the last group */
    bool has_snapshots;
    char tail[PATH_SIZE]; /* where a group was on its way, else empty */
    size_t tail_offset;   /* its first byte, beyond the mark */
};

struct tally {
    int cut;       /* opened, a torn tail was cut */
    int untouched; /* opened, nothing was lost */
    int refilled;  /* refused, repaired record by record */
    int installed; /* refused, repaired from a snapshot */
    int mark_lost;
};

struct damage_case {
    const struct base *base;
    struct memory_disk *disk; /* damaged */
    struct memory_disk *peer; /* whole */
    struct tally *tally;
    struct seeded *seeded;
    bool is_beyond; /* nothing before the mark was touched */
    char what[512]; /* for the message of a failure */
    struct reason reason;
};

#define CASE_ASSERT(damage, condition)                                                             \
    ck_assert_msg(condition, "%s: %s; %s", #condition, (damage)->what, (damage)->reason.text)

static struct event_log_options base_options(const struct base *base, struct memory_disk *disk)
{
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    options.segment_size = base->segment_size;
    options.retain_size = 5 * base->segment_size;
    return options;
}

static void base_snapshot(struct event_log *log, uint64_t index)
{
    struct hash hash = {{7}};
    struct reason reason = {""};
    if (index <= event_log_durable(log).index &&
        event_log_snapshot_write(log, index, &hash, "a state", 7, &reason) != STATUS_OK)
        ck_abort_msg("%s", reason.text);
}

/* The last segment and its size. */
static void base_find_tail(struct base *base)
{
    for (size_t i = 0; i < memory_disk_file_count(base->disk); i++) {
        const char *path = memory_disk_file_path(base->disk, i);
        if (!strstr(path, ".segment") || strcmp(path, base->tail) < 0)
            continue;
        (void)snprintf(base->tail, sizeof(base->tail), "%s", path);
        (void)memory_disk_bytes(base->disk, path, &base->tail_offset);
    }
}

static void base_open(struct base *base, int number, struct seeded *seeded)
{
    struct event_log *log = NULL;
    struct reason reason = {""};
    *base = (struct base){.disk = memory_disk_create()};
    base->segment_size = (uint64_t)1024 << seeded_below(seeded, 5);
    struct event_log_options options = base_options(base, base->disk);
    ck_assert_int_eq(event_log_open(&options, &log, NULL, &reason), STATUS_OK);
    uint64_t count = 1 + seeded_below(seeded, 250);
    uint64_t group = 1 + seeded_below(seeded, 12);
    sample_fill(log, sample_epoch(1, 3), count, group);
    if (number % 3 == 1) {
        base_snapshot(log, count / 2);
        base_snapshot(log, count * 3 / 4);
        ck_assert_int_eq(event_log_retire(log, &reason), STATUS_OK);
        base->has_snapshots = true;
        sample_fill(log, sample_epoch(2, 5), 1 + seeded_below(seeded, 30), group);
    }
    base->acknowledged = event_log_durable(log).index;
    base->is_settled = true;
    if (number % 3 == 2) {
        /* A group on its way when the power went. */
        ck_assert_int_eq(event_log_settle(log, &reason), STATUS_OK);
        for (uint64_t i = seeded_below(seeded, 9); i < 10; i++)
            ck_assert_int_eq(sample_append(log, sample_epoch(3, 5), &reason), STATUS_OK);
        memory_disk_fail(base->disk,
                         &(struct memory_fault){.calls = 1, .error = EIO, .for_good = true});
        base_find_tail(base);
        ck_assert_int_eq(event_log_sync(log, &reason), STATUS_IO);
        size_t size = 0;
        if (!memory_disk_bytes(base->disk, base->tail, &size) || size == base->tail_offset)
            base->tail[0] = '\0'; /* it was to begin a segment */
    } else if (number % 3 == 0 && number > 0) {
        /* Killed before the mark was settled. */
        memory_disk_fail(base->disk,
                         &(struct memory_fault){.error = EIO, .for_good = true});
        base->is_settled = false;
    }
    event_log_close(log);
    memory_disk_heal(base->disk);
}

static bool is_damageable(const struct base *base, const char *path)
{
    if (strstr(path, ".segment") || strstr(path, ".snapshot"))
        return true;
    return base->is_settled && strstr(path, "/mark");
}

/* A file with bytes, the last ones more often. */
static const char *choose_file(struct damage_case *damage, size_t *size_out)
{
    for (;;) {
        size_t count = memory_disk_file_count(damage->disk);
        size_t position = (size_t)seeded_below(damage->seeded, count);
        if (seeded_below(damage->seeded, 2) == 0)
            position = count - 1;
        const char *path = memory_disk_file_path(damage->disk, position);
        if (is_damageable(damage->base, path) &&
            memory_disk_bytes(damage->disk, path, size_out) && *size_out > 0)
            return path;
    }
}

static void note(struct damage_case *damage, const char *what, const char *path, size_t offset)
{
    size_t length = strlen(damage->what);
    (void)snprintf(damage->what + length, sizeof(damage->what) - length, " %s %s at %zu;", what,
                   path, offset);
}

static void flip_bits(struct damage_case *damage)
{
    size_t size = 0;
    const char *path = choose_file(damage, &size);
    size_t offset = (size_t)seeded_below(damage->seeded, size);
    memory_disk_flip(damage->disk, path, offset, (uint8_t)(1u << seeded_below(damage->seeded, 8)));
    note(damage, "flip", path, offset);
}

static void lose_sector(struct damage_case *damage)
{
    size_t size = 0;
    const char *path = choose_file(damage, &size);
    size_t offset = (size_t)seeded_below(damage->seeded, size) & ~(size_t)511;
    const uint8_t *bytes = memory_disk_bytes(damage->disk, path, &size);
    for (size_t i = offset; i < size && i < offset + 512; i++)
        memory_disk_flip(damage->disk, path, i, bytes[i]); /* to zero */
    note(damage, "zero", path, offset);
}

static void cut_file(struct damage_case *damage)
{
    size_t size = 0;
    const char *path = choose_file(damage, &size);
    size_t kept = (size_t)seeded_below(damage->seeded, size);
    if (strstr(path, "/mark"))
        kept = 4096 + kept % 4096; /* one slot stays: both are lost only where nothing else is */
    memory_disk_cut(damage->disk, path, kept);
    note(damage, "cut", path, kept);
}

/* Only what came after the mark. */
static void hurt_tail(struct damage_case *damage)
{
    size_t size = 0;
    const char *path = damage->base->tail;
    (void)memory_disk_bytes(damage->disk, path, &size);
    size_t tail = size - damage->base->tail_offset;
    size_t offset = damage->base->tail_offset + (size_t)seeded_below(damage->seeded, tail);
    if (seeded_below(damage->seeded, 2) == 0)
        memory_disk_cut(damage->disk, path, offset);
    else
        memory_disk_flip(damage->disk, path, offset,
                         (uint8_t)(1 + seeded_below(damage->seeded, 255)));
    note(damage, "beyond the mark of", path, offset);
    damage->is_beyond = true;
}

static void hurt_snapshots(struct damage_case *damage)
{
    for (size_t i = 0; i < memory_disk_file_count(damage->disk); i++) {
        const char *path = memory_disk_file_path(damage->disk, i);
        if (strstr(path, ".snapshot"))
            memory_disk_flip(damage->disk, path, (size_t)seeded_below(damage->seeded, 190), 1);
    }
    note(damage, "flip", "all snapshots", 0);
}

/* The damage of one case; at most one slot of the mark is hit, or nothing but the mark. */
static void hurt(struct damage_case *damage)
{
    uint64_t kind = seeded_below(damage->seeded, 100);
    if (damage->base->tail[0] && kind % 2 == 0) {
        hurt_tail(damage);
        return;
    }
    if (damage->base->has_snapshots && kind < 30)
        hurt_snapshots(damage);
    if (kind < 50) {
        cut_file(damage);
    } else if (kind < 90) {
        flip_bits(damage);
    } else if (kind < 97) {
        lose_sector(damage);
    } else if (damage->base->is_settled) {
        memory_disk_flip(damage->disk, "log/mark", seeded_below(damage->seeded, 200), 1);
        memory_disk_flip(damage->disk, "log/mark", 4096 + seeded_below(damage->seeded, 200), 1);
        note(damage, "flip both slots of", "log/mark", 0);
        return;
    }
    for (uint64_t more = seeded_below(damage->seeded, 4); more > 2; more--)
        flip_bits(damage);
}

/* Every event from the first to the last is there and right, and every acknowledged one. */
static void judge_whole(struct damage_case *damage, const struct event_log *log)
{
    enum status ended = STATUS_OK;
    uint64_t last = event_log_durable(log).index;
    uint64_t first = event_log_first_index(log);
    CASE_ASSERT(damage, last >= damage->base->acknowledged);
    CASE_ASSERT(damage, sample_read("log", memory_disk_ops(damage->disk), first, &ended) == last);
    CASE_ASSERT(damage, ended == STATUS_ENDED);
    if (first == 1)
        return;
    struct event_snapshot snapshot;
    CASE_ASSERT(damage,
                event_log_snapshot_read(log, &snapshot, &damage->reason) == STATUS_OK);
    CASE_ASSERT(damage, snapshot.state_size == 7 && memcmp(snapshot.state, "a state", 7) == 0);
    CASE_ASSERT(damage, snapshot.stamp.index + 1 >= first);
    event_snapshot_fini(&snapshot);
}

/* The beginning is lost: begin after the peer's snapshot. */
static void install_from_peer(struct damage_case *damage, struct event_log *log)
{
    struct event_log_options options = base_options(damage->base, damage->peer);
    struct event_log *peer = NULL;
    struct event_snapshot snapshot;
    CASE_ASSERT(damage, event_log_open(&options, &peer, NULL, &damage->reason) == STATUS_OK);
    CASE_ASSERT(damage, event_log_snapshot_read(peer, &snapshot, &damage->reason) == STATUS_OK);
    uint64_t last = event_log_durable(peer).index;
    event_log_close(peer);
    CASE_ASSERT(damage, event_log_install_snapshot(log, &snapshot, &damage->reason) == STATUS_OK);
    event_snapshot_fini(&snapshot);
    CASE_ASSERT(damage, sample_refill(log, "log", memory_disk_ops(damage->peer), last,
                                      &damage->reason) == STATUS_OK);
    damage->tally->installed++;
}

static void repair(struct damage_case *damage)
{
    struct event_log_options options = base_options(damage->base, damage->disk);
    struct event_log *log = NULL;
    options.accept_damage = true;
    CASE_ASSERT(damage, event_log_open(&options, &log, NULL, &damage->reason) == STATUS_OK);
    const struct event_log_damage *found = event_log_damage(log);
    CASE_ASSERT(damage, found && found->first_index <= found->last_index);
    uint64_t first = found->first_index;
    uint64_t last = found->last_index;
    enum status status = event_log_replace_from(log, first, &damage->reason);
    if (status == STATUS_NOT_FOUND) {
        install_from_peer(damage, log);
    } else {
        CASE_ASSERT(damage, status == STATUS_OK);
        CASE_ASSERT(damage, sample_refill(log, "log", memory_disk_ops(damage->peer), last,
                                          &damage->reason) == STATUS_OK);
        damage->tally->refilled++;
    }
    CASE_ASSERT(damage, !event_log_damage(log));
    event_log_close(log);
    options.accept_damage = false;
    CASE_ASSERT(damage, event_log_open(&options, &log, NULL, &damage->reason) == STATUS_OK);
    judge_whole(damage, log);
    event_log_close(log);
}

static void run_case(struct damage_case *damage)
{
    struct event_log_options options = base_options(damage->base, damage->disk);
    struct event_log_recovery recovery;
    struct event_log *log = NULL;
    enum status status = event_log_open(&options, &log, &recovery, &damage->reason);
    if (status == STATUS_DAMAGED) {
        CASE_ASSERT(damage, !damage->is_beyond);
        CASE_ASSERT(damage, strstr(damage->reason.text, "is damaged at byte "));
        CASE_ASSERT(damage, memory_disk_open_count(damage->disk) == 0);
        repair(damage);
        return;
    }
    CASE_ASSERT(damage, status == STATUS_OK);
    judge_whole(damage, log);
    damage->tally->mark_lost += recovery.mark_lost ? 1 : 0;
    if (recovery.cut_size > 0)
        damage->tally->cut++;
    else
        damage->tally->untouched++;
    sample_fill(log, sample_epoch(8, 8), 2, 1);
    event_log_close(log);
    CASE_ASSERT(damage, event_log_open(&options, &log, &recovery, &damage->reason) == STATUS_OK);
    CASE_ASSERT(damage, recovery.cut_size == 0);
    event_log_close(log);
}

static int case_count(void)
{
    const char *text = getenv("TROUPE_LOG_CASES");
    long count = text ? strtol(text, NULL, 10) : 0;
    return count > 0 && count < INT32_MAX ? (int)count : 400;
}

START_TEST(random_cuts_and_flips_lose_nothing_in_silence)
{
    struct seeded seeded = seeded_open(20261121);
    struct base bases[BASE_COUNT];
    struct tally tally = {0};
    int cases = case_count();
    for (int done = 0; done < cases;) {
        for (int i = 0; i < BASE_COUNT; i++)
            base_open(&bases[i], i, &seeded);
        for (int i = 0; i < 200 && done < cases; i++, done++) {
            const struct base *base = &bases[seeded_below(&seeded, BASE_COUNT)];
            struct damage_case damage = {.base = base,
                                         .disk = memory_disk_clone(base->disk),
                                         .peer = memory_disk_clone(base->disk),
                                         .tally = &tally,
                                         .seeded = &seeded};
            (void)snprintf(damage.what, sizeof(damage.what), "case %d:", done);
            hurt(&damage);
            run_case(&damage);
            memory_disk_free(damage.disk);
            memory_disk_free(damage.peer);
        }
        for (int i = 0; i < BASE_COUNT; i++)
            memory_disk_free(bases[i].disk);
    }
    (void)printf("# %d cases: %d recovered whole, %d by cutting a torn tail; %d refused and "
                 "refilled from a peer, %d from its snapshot; %d without a mark\n",
                 cases, tally.untouched, tally.cut, tally.refilled, tally.installed,
                 tally.mark_lost);
    ck_assert_int_gt(tally.refilled, cases / 10);
    ck_assert_int_gt(tally.cut, 0);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("event log damage");
    const TTest *const tests[] = {random_cuts_and_flips_lose_nothing_in_silence};
    TCase *group = tcase_create("damage");
    tcase_set_timeout(group, 1200);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
