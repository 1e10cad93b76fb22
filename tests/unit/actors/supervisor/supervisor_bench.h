/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor_bench: the supervisor's step alone, over rows of its own, and a time that moves when
 * the test says so.
 */
#ifndef TROUPE_TESTS_UNIT_ACTORS_SUPERVISOR_SUPERVISOR_BENCH_H
#define TROUPE_TESTS_UNIT_ACTORS_SUPERVISOR_SUPERVISOR_BENCH_H

#include "actors/supervisor/children.h"
#include "tests/support/check_main.h"

enum { DONE_MAX = 4096, SENT_MAX = 512 };

/* An effect but for pings. */
struct done {
    uint32_t kind;
    uint64_t id;
    uint64_t at_ms;
    char name[16]; /* SPAWN */
    uint64_t incarnation;
};

struct supervisor_bench {
    struct supervisor_settings settings;
    struct supervisor *actor;
    struct outbox outbox;
    uint64_t now_ms;
    uint64_t random;
    struct done done[DONE_MAX];
    size_t done_count;
    uint64_t pinged[CHILDREN_MAX]; /* in the last step */
    size_t pinged_count;
    uint64_t master_index;
    unsigned spawns_at_end; /* of the name that ended last */
    struct message sent[SENT_MAX];
    size_t sent_count;
    unsigned ready_count;
    bool has_exited;
    int exit_code;
    char said[700];
    char status[256];
};

extern struct supervisor_bench bench;

extern const struct node_id own_node;

void feed(struct input input);
void bench_open(void);
void bench_close(void);
void start(void);
/* Time passes; everything that serves answers its pings when `is_answered`. */
void pass(uint64_t for_ms, bool is_answered);
const struct done *last_spawn(const char *name);
unsigned spawns(const char *name);
/* When that was done to the last process of this name; 0: not. */
uint64_t done_at(enum supervisor_effect kind, const char *name);
/* Until what ended last is started again, and ready. */
void pass_until_back(const char *name);
void ready(const char *name);
void end(const char *name, int exit_code, int signal, const char *words);
void all_ready(void);
void say_to_it(struct message *message);
/* With a welcome that tells bench.master_index. */
void connect_master(void);
void disconnect_master(void);
/* The whole state: one instance (or none) of which rank 0 is ours. */
void tell_state(uint64_t index, bool has_instance, uint64_t counter, uint32_t status,
                       const char *runner_address);
void ask_start(uint32_t actor, uint64_t counter);
void ask_stop(uint64_t counter);
const struct message *last_sent(enum message_kind kind, uint32_t code);
uint32_t last_phase(void);
/* How many different reports of that row it sent. */
unsigned reports_of(uint32_t code);

#endif
