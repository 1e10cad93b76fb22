/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Nth allocation fails, for every N until all succeed: settings and outbox answer with
 * "no memory", keep what they had and leak nothing (the sanitizers look).
 */
#include "protocol/memory.h"

#include "protocol/message.h"
#include "runtime/actor.h"
#include "runtime/config.h"
#include "tests/support/check_main.h"

#include <string.h>

enum { CALLS_MAX = 1000 };

static enum status settings_read(struct reason *reason)
{
    struct config config;
    enum status status = config_init(&config, reason);
    if (status != STATUS_OK)
        return status;
    status = config_read_text(&config, "lease_ms = 700\nname = kitchen\n", "config.ini", reason);
    if (status == STATUS_OK)
        ck_assert_str_eq(config_text(&config, CONFIG_KEY_NAME), "kitchen");
    else
        ck_assert_ptr_nonnull(config_text(&config, CONFIG_KEY_NAME));
    config_fini(&config);
    return status;
}

START_TEST(settings_survive_every_failure)
{
    uint64_t calls = 0;
    enum status status = STATUS_NO_MEMORY;
    for (; calls < CALLS_MAX && status != STATUS_OK; calls++) {
        struct reason reason = {""};
        memory_fail_after(calls);
        status = settings_read(&reason);
        memory_fail_after(UINT64_MAX);
        ck_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
        ck_assert((status == STATUS_OK) == (reason.text[0] == 0));
    }
    ck_assert_uint_gt(calls, CONFIG_KEY_COUNT);
    ck_assert_uint_lt(calls, CALLS_MAX);
}
END_TEST

static enum status outbox_fill(const struct message *message)
{
    struct outbox outbox;
    struct peer peer = peer_of_link(1);
    struct link_options options = {.endpoint = "ipc://x.sock"};
    struct public_key keys[3] = {0};
    outbox_init(&outbox);
    for (int round = 0; round < 5; round++) {
        outbox_send(&outbox, &peer, message);
        outbox_send_bytes(&outbox, &peer, "bytes", 5);
        outbox_link_open(&outbox, 1, &options);
        outbox_link_allow(&outbox, 1, keys, COUNT_OF(keys));
        outbox_link_close(&outbox, 1);
        outbox_peer_drop(&outbox, &peer);
        void *request = memory_zeroed(1, 16);
        if (request)
            outbox_effect(&outbox, 1, 1, request, memory_free);
        outbox_status(&outbox, "serving");
        outbox_ready(&outbox);
    }
    enum status status = outbox.failed;
    outbox_fini(&outbox);
    return status;
}

START_TEST(an_outbox_remembers_its_first_failure)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT), STATUS_OK);
    uint64_t calls = 0;
    enum status status = STATUS_NO_MEMORY;
    uint64_t failures = 0;
    for (; calls < CALLS_MAX; calls++) {
        memory_fail_after(calls);
        status = outbox_fill(&message);
        memory_fail_after(UINT64_MAX);
        ck_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
        failures += status != STATUS_OK;
    }
    ck_assert_int_eq(status, STATUS_OK);
    ck_assert_uint_gt(failures, 20);
    message_fini(&message);
}
END_TEST

START_TEST(an_outbox_has_a_bound)
{
    struct outbox outbox;
    outbox_init(&outbox);
    for (int i = 0; i < OUTBOX_ITEMS_MAX; i++)
        outbox_ready(&outbox);
    ck_assert_int_eq(outbox.failed, STATUS_OK);
    outbox_ready(&outbox);
    ck_assert_int_eq(outbox.failed, STATUS_TOO_LARGE);
    outbox_clear(&outbox);
    ck_assert_int_eq(outbox.failed, STATUS_OK);
    ck_assert_uint_eq(outbox.count, 0);
    outbox_fini(&outbox);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("runtime memory");
    const TTest *const tests[] = {
        settings_survive_every_failure,
        an_outbox_remembers_its_first_failure,
        an_outbox_has_a_bound,
    };
    suite_add(suite, "failures", tests, COUNT_OF(tests));
    return suite;
}
