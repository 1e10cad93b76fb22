/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/launcher/launcher_shell.h"

#include "actors/launcher/launcher.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <inttypes.h>
#include <stdio.h>

struct watch {
    struct launcher_shell *shell;
    struct loop *loop;
};

/* One loop and one shell for each process; the watches need both. */
static struct watch watched;

static void event_free(void *value)
{
    pmix_host_event_fini(value);
    memory_free(value);
}

static void post_event(struct loop *loop, struct pmix_host_event *event)
{
    struct result result = {.kind = RESULT_PMIX, .status = STATUS_OK, .value_free = event_free};
    result.value = memory_copied(event, sizeof(*event));
    if (!result.value) {
        /* The rank waits for what is lost here; its watchdog ends it. */
        pmix_host_event_fini(event);
        return;
    }
    loop_post(loop, &result);
}

static void on_pmix(void *argument, int fd)
{
    (void)fd;
    struct watch *watch = argument;
    struct pmix_host_event event;
    while (watch->shell->host && pmix_host_next(watch->shell->host, &event))
        post_event(watch->loop, &event);
}

static struct child_event event_of(const struct child *child)
{
    return (struct child_event){.id = 1, .pid = child->pid};
}

static void on_ready(void *argument, int fd)
{
    struct watch *watch = argument;
    struct child_event event = event_of(&watch->shell->child);
    loop_unwatch(watch->loop, fd);
    if (child_is_ready(&watch->shell->child))
        loop_child(watch->loop, INPUT_CHILD_READY, &event);
}

static void on_beat(void *argument, int fd)
{
    struct watch *watch = argument;
    struct child_event event = event_of(&watch->shell->child);
    if (child_beats(&watch->shell->child) > 0) {
        watch->shell->has_answered = true;
        loop_child(watch->loop, INPUT_CHILD_BEAT, &event);
    } else {
        loop_unwatch(watch->loop, fd);
    }
}

/* A process that has not come to its loop yet shows that it gets there by the time it takes. */
static void ping(struct launcher_shell *shell, struct loop *loop)
{
    const struct child_event event = event_of(&shell->child);
    const uint64_t spent_ns = shell->has_answered ? 0 : clock_process_spent_ns(shell->child.pid);
    if (spent_ns != shell->spent_ns && !shell->has_answered)
        loop_child(loop, INPUT_CHILD_BEAT, &event);
    shell->spent_ns = spent_ns;
    child_ping(&shell->child);
}

static void on_death(void *argument, int fd)
{
    struct watch *watch = argument;
    struct launcher_shell *shell = watch->shell;
    struct child_event event = event_of(&shell->child);
    struct child_end end;
    if (!child_reap(&shell->child, &end))
        return;
    event.exit_code = end.exit_code;
    event.signal = end.signal;
    loop_unwatch(watch->loop, fd);
    loop_unwatch(watch->loop, shell->child.beat_fd);
    if (shell->child.ready_fd >= 0)
        loop_unwatch(watch->loop, shell->child.ready_fd);
    shell->has_child = false;
    loop_child(watch->loop, INPUT_CHILD_ENDED, &event);
}

static enum status watch_child(struct launcher_shell *shell, struct loop *loop)
{
    enum status status = loop_watch(loop, shell->child.ready_fd, on_ready, &watched);
    if (status == STATUS_OK)
        status = loop_watch(loop, shell->child.beat_fd, on_beat, &watched);
    if (status == STATUS_OK)
        status = loop_watch(loop, shell->child.death_fd, on_death, &watched);
    return status;
}

static enum status host_open(struct launcher_shell *shell, struct loop *loop,
                             const struct rank_start *start, struct reason *reason)
{
    /* Nodes of PMIx are only told apart by these names, which need not resolve. */
    char names[FENCE_RANKS_MAX][16];
    const char *nodes[FENCE_RANKS_MAX];
    if (start->rank_count > FENCE_RANKS_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "a world of %" PRIu32 " ranks is above the limit"
                      " of %d", start->rank_count, FENCE_RANKS_MAX);
    for (uint32_t rank = 0; rank < start->rank_count; rank++) {
        (void)snprintf(names[rank], sizeof(names[rank]), "node%" PRIu32, rank);
        nodes[rank] = names[rank];
    }
    const struct pmix_host_options options = {
        .directory = shell->directory,
        .name = start->name,
        .nodes = nodes,
        .rank = start->rank,
        .rank_count = start->rank_count,
    };
    enum status status = pmix_host_open(&options, &shell->host, reason);
    if (status == STATUS_OK)
        status = loop_watch(loop, pmix_host_descriptor(shell->host), on_pmix, &watched);
    return status;
}

static enum status rank_spawn(struct launcher_shell *shell, struct loop *loop,
                              struct reason *reason)
{
    char **environment = NULL;
    enum status status = pmix_host_environment(shell->host, &shell->fabric, shell->environment,
                                               &environment, reason);
    if (status != STATUS_OK)
        return status;
    const struct spawn_options options = {
        .program = shell->command[0],
        .arguments = shell->command + 1,
        .environment = (const char *const *)environment,
        .error_fd = -1,
        .output_fd = -1,
    };
    status = child_spawn(&options, &shell->child, reason);
    pmix_host_environment_free(environment);
    if (status != STATUS_OK)
        return status;
    shell->has_child = true;
    shell->was_spawned = true;
    return watch_child(shell, loop);
}

static enum status shell_open(void *self, struct loop *loop, struct reason *reason)
{
    (void)reason;
    watched = (struct watch){self, loop};
    return STATUS_OK;
}

static void answer(struct loop *loop, const struct effect *effect, enum status status,
                   const struct reason *reason)
{
    struct result result = {
        .id = effect->id, .kind = effect->kind, .status = status, .reason = *reason};
    loop_post(loop, &result);
}

static enum status shell_perform(void *self, struct loop *loop, struct effect *effect,
                                 struct reason *reason)
{
    (void)reason;
    struct launcher_shell *shell = self;
    struct reason why = {""};
    enum status status = STATUS_OK;
    const struct pmix_host_event *event = effect->request;
    switch ((enum launcher_effect)effect->kind) {
    case EFFECT_HOST_OPEN:
        status = host_open(shell, loop, effect->request, &why);
        answer(loop, effect, status, &why);
        return STATUS_OK;
    case EFFECT_RANK_START:
        if (!shell->host)
            return STATUS_OK; /* its failure is answered already */
        status = rank_spawn(shell, loop, &why);
        answer(loop, effect, status, &why);
        return STATUS_OK;
    case EFFECT_RANK_STOP:
        if (shell->has_child)
            child_stop(&shell->child);
        return STATUS_OK;
    case EFFECT_RANK_KILL:
        if (shell->has_child)
            child_kill(&shell->child);
        return STATUS_OK;
    case EFFECT_RANK_PING:
        if (shell->has_child)
            ping(shell, loop);
        return STATUS_OK;
    case EFFECT_FENCE:
        if (!shell->host)
            return STATUS_OK;
        status = pmix_host_fence(shell->host, event->rank, event->signature, event->sequence,
                                 event->bytes, event->size, &why);
        if (status != STATUS_OK)
            answer(loop, effect, status, &why);
        return STATUS_OK;
    case EFFECT_MODEX_LOOKUP:
        if (shell->host)
            pmix_host_modex_lookup(shell->host, event->rank, event->request);
        return STATUS_OK;
    case EFFECT_MODEX_ANSWER:
        if (shell->host)
            pmix_host_modex_answer(shell->host, event->request, event->status, event->bytes,
                                   event->size);
        return STATUS_OK;
    case RESULT_PMIX:
        break;
    }
    return STATUS_INTERNAL;
}

static void shell_close(void *self)
{
    struct launcher_shell *shell = self;
    if (shell->was_spawned)
        child_fini(&shell->child);
    pmix_host_close(shell->host);
    shell->host = NULL;
}

struct shell launcher_shell_calls(struct launcher_shell *shell)
{
    return (struct shell){
        .self = shell, .open = shell_open, .perform = shell_perform, .close = shell_close};
}
