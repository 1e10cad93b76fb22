/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launcher_world: two or more real launchers, one process that stands for their masters.
 *
 *     launcher_world N DIRECTORY LAUNCHER ACTION PROGRAM [ARGUMENT...]
 *
 * Each launcher runs in DIRECTORY/nodeI with the ipc socket of its "master" there.  The process
 * keeps one state, turns reports into events and sends them to all.  ACTION is none, or what is
 * done when every rank has made the file nodeI/mark: kill-launcher (the last one), delete (the
 * instance), stop (SIGTERM to all launchers), freeze (the last launcher is stopped, so that its
 * links go silent); or decoy: the last launcher's address, as all are told, leads to somebody who
 * takes connections and says nothing.  Prints a line for each launcher that ended and each
 * process_ended; ends when all have.
 */
#include "protocol/memory.h"
#include "protocol/message.h"
#include "protocol/state.h"
#include "runtime/clock.h"
#include "runtime/loop.h"
#include "runtime/spawn.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORLD_MAX = 4, LOOK_MS = 20, EFFECT_SPAWN = 1, EFFECT_ACT, EFFECT_THAW };

static uint32_t rank_total;
static const char *directory;
static const char *launcher_path;
static const char *action;
static const char *const *rank_command;

struct node {
    struct peer peer;
    bool is_here;
};

struct masters {
    struct state state;
    struct node nodes[WORLD_MAX];
    struct instance_id instance_id;
    struct generation generation;
    bool has_acted;
    uint32_t ended;
};

struct hands {
    struct loop *loop;
    struct child children[WORLD_MAX];
};

static struct hands hands;

/* ---- the actor that stands for the masters ---- */

static void publish(struct masters *masters, struct message *event, struct outbox *outbox)
{
    event->head.index = masters->state.index + 1;
    ASSERT(state_apply(&masters->state, event) == STATUS_OK);
    for (uint32_t i = 0; i < rank_total; i++)
        if (masters->nodes[i].is_here)
            outbox_send(outbox, &masters->nodes[i].peer, event);
}

static struct node_id node_id_of(uint32_t rank)
{
    struct node_id id = {{0}};
    memset(id.bytes, (int)(0x11 * (rank + 1)), sizeof(id.bytes));
    return id;
}

static enum status masters_init(void *actor, const void *settings, struct reason *reason)
{
    (void)settings;
    (void)reason;
    struct masters *masters = actor;
    struct message placed;
    state_init(&masters->state);
    memset(masters->instance_id.bytes, 0xab, sizeof(masters->instance_id.bytes));
    masters->generation = (struct generation){.epoch = 3, .leader = node_id_of(0), .counter = 7};
    ASSERT(message_init(&placed, MESSAGE_EVENT, EVENT_INSTANCE_PLACED) == STATUS_OK);
    struct instance_record *instance = &MESSAGE_BODY(&placed, instance_placed)->instance;
    instance->instance_id = masters->instance_id;
    instance->generation = masters->generation;
    ASSERT(text_set(&instance->model_id, "nothing"));
    for (uint32_t i = 0; i < rank_total; i++) {
        struct rank_record *rank = record_list_push(
            &rank_record_type, RECORD_LIST(instance->ranks), NULL, RANK_COUNT_MAX);
        ASSERT(rank != NULL);
        rank->node_id = node_id_of(i);
    }
    placed.head.index = 1;
    ASSERT(state_apply(&masters->state, &placed) == STATUS_OK);
    message_fini(&placed);
    return STATUS_OK;
}

static void masters_fini(void *actor)
{
    state_fini(&((struct masters *)actor)->state);
}

static void welcome(struct masters *masters, uint32_t rank, struct outbox *outbox)
{
    struct message message;
    struct buffer bytes;
    buffer_init(&bytes, 1u << 20);
    ASSERT(message_init(&message, MESSAGE_LINK, LINK_WELCOME) == STATUS_OK);
    MESSAGE_BODY(&message, welcome)->node_id = node_id_of(rank);
    outbox_send(outbox, &masters->nodes[rank].peer, &message);
    message_fini(&message);
    ASSERT(message_init(&message, MESSAGE_LINK, LINK_SNAPSHOT_PART) == STATUS_OK);
    struct snapshot_part *part = message.body;
    ASSERT(state_encode(&masters->state, &bytes) == STATUS_OK);
    part->index = masters->state.index;
    part->total = bytes.size;
    ASSERT(bytes_set(&part->part, bytes.bytes, bytes.size));
    outbox_send(outbox, &masters->nodes[rank].peer, &message);
    message_fini(&message);
    buffer_fini(&bytes);
}

/* The kernel takes connections to it; nobody hears them. */
static uint16_t decoy_open(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(listener >= 0 && bind(listener, (struct sockaddr *)&address, size) == 0);
    ASSERT(listen(listener, 8) == 0);
    ASSERT(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    return ntohs(address.sin_port);
}

static void lead_astray(struct message *event)
{
    struct rank_addressed *body = MESSAGE_BODY(event, rank_addressed);
    char address[64];
    (void)snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", decoy_open());
    ASSERT(text_set(&body->address, address));
}

static void take_report(struct masters *masters, const struct input *input,
                        struct outbox *outbox)
{
    static const uint32_t events[] = {[REPORT_RANK_ADDRESSED] = EVENT_RANK_ADDRESSED,
                                      [REPORT_PROCESS_ENDED] = EVENT_PROCESS_ENDED};
    const struct message *report = input->message;
    uint32_t code = report->head.code;
    ASSERT(code == REPORT_RANK_ADDRESSED || code == REPORT_PROCESS_ENDED);
    struct message event;
    ASSERT(message_copy(report, &event) == STATUS_OK);
    event.head.kind = MESSAGE_EVENT;
    event.head.code = events[code];
    if (code == REPORT_RANK_ADDRESSED && strcmp(action, "decoy") == 0 &&
        MESSAGE_BODY(&event, rank_addressed)->rank == rank_total - 1)
        lead_astray(&event);
    publish(masters, &event, outbox);
    if (code == REPORT_PROCESS_ENDED) {
        const struct process_ended *body = report->body;
        printf("reported rank %" PRIu32 " code %" PRIu32 " signal %" PRIu32 ": %s\n", body->rank,
               body->exit_code, body->signal, text_or_empty(body->reason));
        (void)fflush(stdout);
    }
    struct message answer;
    ASSERT(message_init(&answer, MESSAGE_ANSWER, ANSWER_DONE) == STATUS_OK);
    answer.head.incarnation = report->head.incarnation;
    answer.head.sequence = report->head.sequence;
    outbox_send(outbox, &input->peer, &answer);
    message_fini(&answer);
    message_fini(&event);
}

static void take_message(struct masters *masters, const struct input *input,
                         struct outbox *outbox)
{
    if (message_is(input->message, MESSAGE_LINK, LINK_HELLO)) {
        const struct hello *hello = input->message->body;
        struct node *node = &masters->nodes[hello->rank];
        ASSERT(input->peer.link == hello->rank + 1);
        *node = (struct node){input->peer, true};
        welcome(masters, hello->rank, outbox);
    } else if (input->message->head.kind == MESSAGE_REPORT) {
        take_report(masters, input, outbox);
    }
}

static bool all_are_marked(void)
{
    for (uint32_t i = 0; i < rank_total; i++) {
        char mark[32];
        (void)snprintf(mark, sizeof(mark), "node%" PRIu32 "/mark", i);
        if (access(mark, F_OK) != 0)
            return false;
    }
    return true;
}

/* Looks for the marks until all are there, then acts once. */
static void act(struct masters *masters, uint64_t now_ms, struct outbox *outbox)
{
    if (masters->has_acted || strcmp(action, "none") == 0)
        return;
    outbox_wake(outbox, now_ms + LOOK_MS);
    if (!all_are_marked())
        return;
    masters->has_acted = true;
    if (strcmp(action, "delete") == 0) {
        struct message event;
        ASSERT(message_init(&event, MESSAGE_EVENT, EVENT_INSTANCE_DELETED) == STATUS_OK);
        MESSAGE_BODY(&event, instance_deleted)->instance_id = masters->instance_id;
        publish(masters, &event, outbox);
        message_fini(&event);
    } else {
        outbox_effect(outbox, 0, EFFECT_ACT, NULL, NULL);
    }
}

static enum status masters_step(void *actor, const struct input *input, struct outbox *outbox,
                                struct reason *reason)
{
    (void)reason;
    struct masters *masters = actor;
    if (input->kind == INPUT_START) {
        for (uint32_t i = 0; i < rank_total; i++) {
            struct link_options bound = {.role = LINK_BIND};
            (void)snprintf(bound.endpoint, sizeof(bound.endpoint), "ipc://node%" PRIu32
                           "/master.sock", i);
            outbox_link_open(outbox, i + 1, &bound);
        }
        outbox_effect(outbox, 0, EFFECT_SPAWN, NULL, NULL);
    } else if (input->kind == INPUT_MESSAGE) {
        take_message(masters, input, outbox);
    } else if (input->kind == INPUT_CHILD_ENDED) {
        printf("launcher %d ended with code %" PRId32 " signal %" PRId32 "\n",
               (int)input->child.id, input->child.exit_code, input->child.signal);
        (void)fflush(stdout);
        if (++masters->ended == rank_total)
            outbox_exit(outbox, 0);
        else if (strcmp(action, "freeze") == 0)
            outbox_effect(outbox, 0, EFFECT_THAW, NULL, NULL);
    }
    act(masters, input->now_ms, outbox);
    return STATUS_OK;
}

/* ---- its hands ---- */

static void on_death(void *argument, int fd)
{
    struct child *child = argument;
    struct child_end end;
    struct child_event event = {.id = (uint64_t)(child - hands.children), .pid = child->pid};
    if (!child_reap(child, &end))
        return;
    loop_unwatch(hands.loop, fd);
    event.exit_code = end.exit_code;
    event.signal = end.signal;
    loop_child(hands.loop, INPUT_CHILD_ENDED, &event);
}

static void spawn_launcher(uint32_t rank, struct loop *loop)
{
    extern char **environ;
    char home[512];
    char number[16];
    const char *arguments[64] = {
        "--instance",   "abababababababababababababababab",
        "--generation", "3:11111111111111111111111111111111:7",
        "--rank",       number,
        "--fabric",     "127.0.0.1"};
    size_t count = 8;
    if (strcmp(action, "rdma") == 0) {
        arguments[count++] = "--rdma";
        arguments[count++] = "none0"; /* no machine has it */
    }
    arguments[count++] = "--";
    for (size_t i = 0; rank_command[i]; i++) {
        ASSERT(count + 1 < COUNT_OF(arguments));
        arguments[count++] = rank_command[i];
    }
    (void)snprintf(home, sizeof(home), "%s/node%" PRIu32, directory, rank);
    (void)snprintf(number, sizeof(number), "%" PRIu32, rank);
    const struct spawn_options options = {.program = launcher_path,
                                          .arguments = arguments,
                                          .environment = (const char *const *)environ,
                                          .directory = home,
                                          .error_fd = -1,
                                          .output_fd = -1};
    struct reason reason = {""};
    if (child_spawn(&options, &hands.children[rank], &reason) != STATUS_OK) {
        printf("%s\n", reason.text);
        exit(EXIT_FAILURE);
    }
    ASSERT(loop_watch(loop, hands.children[rank].death_fd, on_death, &hands.children[rank]) ==
           STATUS_OK);
}

static enum status perform(void *self, struct loop *loop, struct effect *effect,
                           struct reason *reason)
{
    (void)self;
    (void)reason;
    hands.loop = loop;
    for (uint32_t i = 0; i < rank_total && effect->kind == EFFECT_SPAWN; i++)
        spawn_launcher(i, loop);
    if (effect->kind == EFFECT_SPAWN)
        return STATUS_OK;
    pid_t last = hands.children[rank_total - 1].pid;
    if (strcmp(action, "kill-launcher") == 0)
        (void)kill(last, SIGKILL);
    if (strcmp(action, "freeze") == 0)
        (void)kill(last, effect->kind == EFFECT_ACT ? SIGSTOP : SIGKILL);
    for (uint32_t i = 0; i < rank_total && strcmp(action, "stop") == 0; i++)
        child_stop(&hands.children[i]);
    return STATUS_OK;
}

static const struct actor_ops masters_ops = {.name = "masters",
                                             .memory_size = sizeof(struct masters),
                                             .init = masters_init,
                                             .step = masters_step,
                                             .fini = masters_fini};

int main(int count, char **arguments)
{
    if (count < 6)
        return 2;
    rank_total = (uint32_t)strtoul(arguments[1], NULL, 10);
    ASSERT(rank_total >= 2 && rank_total <= WORLD_MAX);
    directory = arguments[2];
    launcher_path = arguments[3];
    action = arguments[4];
    rank_command = (const char *const *)arguments + 5;
    if (chdir(directory) != 0)
        return 2;
    for (uint32_t i = 0; i < rank_total; i++) {
        char home[32];
        (void)snprintf(home, sizeof(home), "node%" PRIu32, i);
        if (mkdir(home, 0700) != 0)
            return 2;
    }
    struct reason reason = {""};
    struct transport *transport = NULL;
    struct loop *loop = NULL;
    int exit_code = EXIT_FAILURE;
    const struct transport_options transport_options = {.io_threads = 1};
    ASSERT(transport_open(&transport_options, &transport, &reason) == STATUS_OK);
    const struct loop_options options = {
        .ops = &masters_ops, .transport = transport, .shell = {.perform = perform}};
    ASSERT(loop_create(&options, &loop, &reason) == STATUS_OK);
    if (loop_run(loop, &exit_code, &reason) != STATUS_OK)
        printf("%s\n", reason.text);
    loop_free(loop);
    transport_close(transport, 0);
    for (uint32_t i = 0; i < rank_total; i++)
        child_fini(&hands.children[i]);
    return exit_code;
}
