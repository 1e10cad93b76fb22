/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inspector as people and programs use it: real logs of real events, the real program.
 */
#include "protocol/memory.h"
#include "protocol/state.h"
#include "runtime/clock.h"
#include "runtime/event_log.h"
#include "tests/support/check_main.h"
#include "tests/support/run_program.h"
#include "tests/support/sample_log.h"
#include "tests/support/scratch.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENT_COUNT 40
#define SNAPSHOT_AT 20
#define BEGAN_MS 1763730000000 /* 2025-11-21T13:00:00Z */
#define OUTPUT_SIZE (1 << 20)

static struct scratch scratch;
static char output[OUTPUT_SIZE];
static struct reason reason;

static const char *program(void)
{
    static char path[512];
    const char *build = getenv("TROUPE_BUILD_DIR");
    (void)snprintf(path, sizeof(path), "%s/runtime/tools/troupe-log", build ? build : "build");
    return path;
}

/* Runs `troupe-log` with the words given and keeps what it says in `output`. */
#define RUN(...)                                                                                   \
    run_program((const char *const[]){program(), __VA_ARGS__, NULL}, output, sizeof(output))

static void must(enum status status)
{
    ck_assert_msg(status == STATUS_OK, "%s: %s", status_name(status), reason.text);
}

/* --- making a log --- */

static void fill_body(struct message *event, uint64_t index)
{
    if (message_is(event, MESSAGE_EVENT, EVENT_CLUSTER_FOUNDED)) {
        struct cluster_founded *founded = MESSAGE_BODY(event, cluster_founded);
        founded->cluster_id = sample_cluster();
        memset(&founded->node.node_id, 0x3a, sizeof(founded->node.node_id));
        ck_assert(text_set(&founded->node.name, "first \"node\"\n"));
    } else if (message_is(event, MESSAGE_EVENT, EVENT_INSTANCE_PLACED)) {
        struct instance_placed *placed = MESSAGE_BODY(event, instance_placed);
        memset(&placed->instance.instance_id, (int)(0xa0 + index), 16);
        ck_assert(text_set(&placed->instance.model_id, "demo"));
    } else {
        struct runner_status_changed *changed = MESSAGE_BODY(event, runner_status_changed);
        memset(&changed->instance_id, 0xa2, 16);
        changed->status = RANK_LOADING;
        event->head.actor = ACTOR_RUNNER;
        memset(&event->head.node_id, 0x3a, 16);
        event->head.incarnation = 7;
        event->head.sequence = index;
    }
}

static void append_event(struct event_log *log, struct state *state, uint64_t number)
{
    struct message event;
    struct buffer bytes;
    uint64_t index = event_log_last(log).index + 1;
    uint32_t code = index == 1   ? EVENT_CLUSTER_FOUNDED
                    : index < 4  ? EVENT_INSTANCE_PLACED
                                 : EVENT_RUNNER_STATUS_CHANGED;
    must(message_init(&event, MESSAGE_EVENT, code));
    fill_body(&event, index);
    event.head.index = index;
    event.head.time_ms = BEGAN_MS + index * 1000;
    buffer_init(&bytes, 1 << 20);
    must(message_encode(&event, &bytes));
    must(event_log_append(log, sample_epoch(number, (uint8_t)number), event.head.time_ms,
                          (uint16_t)code, bytes.bytes, bytes.size, NULL, &reason));
    must(event_log_sync(log, &reason));
    must(state_apply(state, &event));
    buffer_fini(&bytes);
    message_fini(&event);
}

static void snapshot(struct event_log *log, const struct state *state)
{
    struct hash hash;
    struct buffer bytes;
    buffer_init(&bytes, 1 << 20);
    must(state_encode(state, &bytes));
    must(state_hash(state, &hash));
    must(event_log_snapshot_write(log, state->index, &hash, bytes.bytes, bytes.size, &reason));
    buffer_fini(&bytes);
}

/* EVENT_COUNT events; from `changed` on by another leader. */
static struct event_log *log_make(const char *path, uint64_t changed)
{
    struct event_log_options options = sample_options(path, NULL);
    struct event_log *log = NULL;
    struct state state;
    state_init(&state);
    must(event_log_open(&options, &log, NULL, &reason));
    for (uint64_t index = 1; index <= EVENT_COUNT; index++) {
        append_event(log, &state, index < changed ? 1 : 2);
        if (index == SNAPSHOT_AT)
            snapshot(log, &state);
    }
    state_fini(&state);
    return log;
}

static const char *here(const char *name, char *path_out)
{
    return scratch_path(&scratch, name, path_out);
}

/* --- reading what it says --- */

/* The line that is JSON and has `key`, or NULL; the caller gives it back. */
static json_t *json_line(size_t number)
{
    const char *line = output;
    for (size_t i = 0; i < number && line; i++) {
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    if (!line || !*line)
        return NULL;
    return json_loadb(line, strcspn(line, "\n"), 0, NULL);
}

static size_t line_count(void)
{
    size_t count = 0;
    for (const char *at = output; *at; at++)
        count += *at == '\n' ? 1 : 0;
    return count;
}

static uint64_t json_number(size_t line, const char *key)
{
    json_t *object = json_line(line);
    ck_assert_msg(object != NULL, "line %zu is not JSON:\n%s", line, output);
    uint64_t number = (uint64_t)json_integer_value(json_object_get(object, key));
    json_decref(object);
    return number;
}

START_TEST(lists_all_events_as_text_and_as_json)
{
    char path[256];
    scratch_open(&scratch);
    event_log_close(log_make(here("log", path), UINT64_MAX));
    ck_assert_int_eq(RUN("list", "--log", path), 0);
    ck_assert_uint_eq(line_count(), EVENT_COUNT);
    ck_assert_ptr_nonnull(strstr(output, "2025-11-21T13:00:01.000Z"));
    ck_assert_ptr_nonnull(strstr(output, "runner@3a3a3a3a"));
    ck_assert_int_eq(RUN("list", "--log", path, "--json"), 0);
    ck_assert_uint_eq(line_count(), EVENT_COUNT);
    for (size_t i = 0; i < EVENT_COUNT; i++)
        ck_assert_uint_eq(json_number(i, "index"), i + 1);
    json_t *first = json_line(0);
    ck_assert_str_eq(json_string_value(json_object_get(first, "event")), "cluster_founded");
    const json_t *body = json_object_get(json_object_get(first, "message"), "body");
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(body, "node"), "name")),
                     "first \"node\"\n");
    json_decref(first);
    scratch_close(&scratch);
}
END_TEST

START_TEST(filters_by_index_kind_actor_instance_node_and_time)
{
    char path[256];
    scratch_open(&scratch);
    event_log_close(log_make(here("log", path), UINT64_MAX));
    ck_assert_int_eq(RUN("list", "--log", path, "--from", "5", "--to", "7"), 0);
    ck_assert_uint_eq(line_count(), 3);
    ck_assert_int_eq(RUN("list", "--log", path, "--kind", "instance_placed"), 0);
    ck_assert_uint_eq(line_count(), 2);
    ck_assert_int_eq(RUN("list", "--log", path, "--kind", "instance_placed,cluster_founded"), 0);
    ck_assert_uint_eq(line_count(), 3);
    ck_assert_int_eq(RUN("list", "--log", path, "--actor", "runner"), 0);
    ck_assert_uint_eq(line_count(), EVENT_COUNT - 3);
    ck_assert_int_eq(RUN("list", "--log", path, "--actor", "none"), 0);
    ck_assert_uint_eq(line_count(), 3);
    ck_assert_int_eq(RUN("list", "--log", path, "--instance", "a3a3"), 0);
    ck_assert_uint_eq(line_count(), 1);
    ck_assert_int_eq(RUN("list", "--log", path, "--instance", "a2"), 0);
    ck_assert_uint_eq(line_count(), EVENT_COUNT - 2);
    ck_assert_int_eq(RUN("list", "--log", path, "--node", "3a"), 0);
    ck_assert_uint_eq(line_count(), EVENT_COUNT - 2);
    ck_assert_int_eq(RUN("list", "--log", path, "--since", "2025-11-21T13:00:30"), 0);
    ck_assert_uint_eq(line_count(), EVENT_COUNT - 29);
    ck_assert_int_eq(RUN("list", "--log", path, "--until", "2025-11-21T13:00:30Z"), 0);
    ck_assert_uint_eq(line_count(), 30);
    ck_assert_int_eq(RUN("list", "--log", path, "--since", "2h"), 0);
    ck_assert_uint_eq(line_count(), 0);
    ck_assert_int_eq(RUN("list", "--log", path, "--limit", "4"), 0);
    ck_assert_uint_eq(line_count(), 4);
    scratch_close(&scratch);
}
END_TEST

START_TEST(shows_one_event_and_the_state_at_an_index)
{
    char path[256];
    char at_10[96] = "";
    scratch_open(&scratch);
    event_log_close(log_make(here("log", path), UINT64_MAX));
    ck_assert_int_eq(RUN("show", "2", "--log", path, "--json"), 0);
    ck_assert_uint_eq(json_number(0, "index"), 2);
    ck_assert_int_eq(RUN("show", "2", "--log", path), 0);
    ck_assert_ptr_nonnull(strstr(output, "\n  \"event\": \"instance_placed\""));
    ck_assert_int_eq(RUN("show", "41", "--log", path), 1);
    ck_assert_ptr_nonnull(strstr(output, "the last one is 40"));
    ck_assert_int_eq(RUN("state", "10", "--log", path, "--json"), 0);
    json_t *state = json_line(0);
    (void)snprintf(at_10, sizeof(at_10), "%s",
                   json_string_value(json_object_get(state, "state_hash")));
    ck_assert_uint_eq(strlen(at_10), 64);
    const json_t *inner = json_object_get(state, "state");
    ck_assert_uint_eq(json_array_size(json_object_get(inner, "instances")), 2);
    json_decref(state);
    ck_assert_int_eq(RUN("state", "--log", path, "--json"), 0);
    ck_assert_uint_eq(json_number(0, "index"), EVENT_COUNT);
    ck_assert_ptr_null(strstr(output, at_10));
    ck_assert_int_eq(RUN("state", "41", "--log", path), 1);
    scratch_close(&scratch);
}
END_TEST

START_TEST(verifies_a_whole_log_and_names_what_is_damaged)
{
    char path[256];
    char file[256];
    size_t size = 0;
    scratch_open(&scratch);
    event_log_close(log_make(here("log", path), UINT64_MAX));
    ck_assert_int_eq(RUN("verify", "--log", path, "--json"), 0);
    ck_assert_uint_eq(json_number(0, "events"), EVENT_COUNT);
    ck_assert_uint_eq(json_number(0, "mark"), EVENT_COUNT);
    ck_assert_uint_eq(json_number(0, "snapshots"), 1);
    ck_assert_uint_eq(json_number(0, "undecodable"), 0);
    ck_assert_int_eq(RUN("verify", "--log", path), 0);
    ck_assert_ptr_nonnull(strstr(output, "whole: 40 events, 1 to 40"));
    (void)here("log/00000000000000000001.segment", file);
    char *bytes = file_bytes(file, &size);
    bytes[size / 2] = (char)(bytes[size / 2] ^ 4);
    file_put(file, bytes, size);
    ck_assert_int_eq(RUN("verify", "--log", path), 1);
    ck_assert_ptr_nonnull(strstr(output, "00000000000000000001.segment is damaged at byte "));
    ck_assert_int_eq(RUN("list", "--log", path), 1);
    bytes[size / 2] = (char)(bytes[size / 2] ^ 4);
    file_put(file, bytes, size);
    memory_free(bytes);
    /* A snapshot of another state than the events make. */
    struct event_log_options options = sample_options(path, NULL);
    struct event_log *log = NULL;
    struct hash hash = {{9}};
    must(event_log_open(&options, &log, NULL, &reason));
    must(event_log_snapshot_write(log, 30, &hash, "nonsense", 8, &reason));
    event_log_close(log);
    ck_assert_int_eq(RUN("verify", "--log", path), 1);
    ck_assert_ptr_nonnull(strstr(output, "snapshot of event 30 is not what the events make"));
    scratch_close(&scratch);
}
END_TEST

START_TEST(says_where_two_logs_part)
{
    char one[256];
    char two[256];
    scratch_open(&scratch);
    struct event_log *log = log_make(here("one", one), UINT64_MAX);
    event_log_close(log_make(here("two", two), 31));
    ck_assert_int_eq(RUN("diff", one, one), 0);
    ck_assert_ptr_nonnull(strstr(output, "the same up to event 40, the last of both"));
    ck_assert_int_eq(RUN("diff", one, two, "--limit", "3"), 1);
    ck_assert_ptr_nonnull(strstr(output, "the same up to event 30; then 10 only in"));
    ck_assert_uint_eq(line_count(), 7);
    ck_assert_int_eq(RUN("diff", one, two, "--json"), 1);
    ck_assert_uint_eq(line_count(), 21);
    ck_assert_uint_eq(json_number(20, "common"), 30);
    ck_assert_uint_eq(json_number(20, "only_first"), 10);
    /* A branch that was cut reads like a log. */
    char branch[EVENT_LOG_NAME_SIZE];
    char path[512];
    must(event_log_truncate_to(log, 35, branch, &reason));
    event_log_close(log);
    (void)snprintf(path, sizeof(path), "%s/%s", one, branch);
    ck_assert_int_eq(RUN("list", "--log", path), 0);
    ck_assert_uint_eq(line_count(), 5);
    ck_assert_int_eq(RUN("diff", one, two, "--json"), 1);
    ck_assert_uint_eq(json_number(line_count() - 1, "only_first"), 5);
    scratch_close(&scratch);
}
END_TEST

START_TEST(follows_a_log_that_is_written_and_cut)
{
    char path[256];
    char seen[256];
    size_t size = 0;
    scratch_open(&scratch);
    struct event_log *log = log_make(here("log", path), UINT64_MAX);
    (void)here("seen", seen);
    (void)fflush(stdout);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int file = open(seen, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (file < 0 || dup2(file, STDOUT_FILENO) < 0 || dup2(file, STDERR_FILENO) < 0)
            _exit(126);
        execl(program(), program(), "follow", "--log", path, "--from", "39", "--limit", "7",
              "--json", (char *)NULL);
        _exit(127);
    }
    struct state state;
    state_init(&state);
    state.index = EVENT_COUNT;
    /* 39 and 40 are there; 41 to 43 come; then 43 is cut and two of another epoch follow. */
    for (int i = 0; i < 3; i++)
        append_event(log, &state, 1);
    for (size_t lines = 0; lines < 5;) {
        char *bytes = access(seen, R_OK) == 0 ? file_bytes(seen, &size) : NULL;
        lines = 0;
        for (size_t i = 0; bytes && i < size; i++)
            lines += bytes[i] == '\n' ? 1 : 0;
        memory_free(bytes);
        clock_sleep_ms(20);
    }
    must(event_log_truncate_to(log, 42, NULL, &reason));
    state.index = 42;
    append_event(log, &state, 2);
    append_event(log, &state, 2);
    int ended = 0;
    ck_assert_int_eq(waitpid(child, &ended, 0), child);
    ck_assert(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    char *bytes = file_bytes(seen, &size);
    ck_assert_ptr_nonnull(strstr(bytes, "was cut; events follow anew from 43"));
    const char *last = strstr(bytes, "\"index\": 44");
    ck_assert_ptr_nonnull(last);
    memory_free(bytes);
    state_fini(&state);
    event_log_close(log);
    scratch_close(&scratch);
}
END_TEST

START_TEST(says_how_it_is_used)
{
    char path[256];
    scratch_open(&scratch);
    ck_assert_int_eq(RUN("--help"), 0);
    ck_assert_ptr_nonnull(strstr(output, "exit codes"));
    ck_assert_int_eq(RUN("list", "--kind", "help"), 0);
    ck_assert_ptr_nonnull(strstr(output, "instance_placed"));
    ck_assert_int_eq(RUN("dance"), 2);
    ck_assert_int_eq(RUN("list", "--kind", "nonsense"), 2);
    ck_assert_int_eq(RUN("list", "--actor", "nonsense"), 2);
    ck_assert_int_eq(RUN("list", "--since", "yesterday"), 2);
    ck_assert_int_eq(RUN("list", "--from", "-1"), 2);
    ck_assert_int_eq(RUN("list", "--instance", "XYZ"), 2);
    ck_assert_int_eq(RUN("show"), 2);
    ck_assert_int_eq(RUN("show", "0"), 2);
    ck_assert_int_eq(RUN("diff", "one"), 2);
    ck_assert_int_eq(RUN("list", "--log", here("nothing", path)), 1);
    ck_assert_ptr_nonnull(strstr(output, "nothing"));
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("inspector");
    const TTest *const tests[] = {lists_all_events_as_text_and_as_json,
                                  filters_by_index_kind_actor_instance_node_and_time,
                                  shows_one_event_and_the_state_at_an_index,
                                  verifies_a_whole_log_and_names_what_is_damaged,
                                  says_where_two_logs_part,
                                  follows_a_log_that_is_written_and_cut,
                                  says_how_it_is_used};
    suite_add(suite, "inspector", tests, COUNT_OF(tests));
    return suite;
}
