/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/actors.h"
#include "actors/runner/engine_thread.h"
#include "actors/runner/runner.h"
#include "actors/runner/weight_fault.h"

#include "protocol/memory.h"
#include "runtime/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ENGINE_END_MS 500u

/* config_keys.h knows nothing of these. */
_Static_assert(SERVING_CHATS_MAX == 64 && SERVING_PREFILL_ROWS_MAX == 448 &&
                   RUNNER_REQUESTS_MAX == 64 + 960,
               "the settings' limits are those of the code");

struct runner_main {
    struct process process;
    struct runner_settings settings;
    struct engine_thread *engine;
    struct loop *loop;
};

static void post(void *target, const struct result *result)
{
    loop_post(target, result);
}

static uint32_t setting(const struct runner_main *main, enum config_key key)
{
    return (uint32_t)config_number(&main->process.config, key);
}

static enum status shell_open(void *self, struct loop *loop, struct reason *reason)
{
    struct runner_main *main = self;
    const struct engine_thread_options options = {
        .places = model_store_places_of(&main->process.paths),
        .serving = {.prefill_rows = setting(main, CONFIG_KEY_PREFILL_ROWS)},
        .load_window = config_number(&main->process.config, CONFIG_KEY_LOAD_WINDOW),
        .load_rate_min = config_number(&main->process.config, CONFIG_KEY_LOAD_RATE_MIN),
        .post = post,
        .target = loop};
    main->loop = loop;
    return engine_thread_open(&options, &main->engine, reason);
}

static enum status look(struct runner_main *main, struct loop *loop)
{
    struct engine_beat *beat = memory_zeroed(1, sizeof(*beat));
    if (!beat)
        return STATUS_NO_MEMORY;
    engine_thread_beat(main->engine, beat);
    post(loop, &(struct result){.kind = RESULT_ENGINE_BEAT, .value = beat,
                                .value_free = memory_free});
    return STATUS_OK;
}

static enum status shell_perform(void *self, struct loop *loop, struct effect *effect,
                                 struct reason *reason)
{
    struct runner_main *main = self;
    (void)reason;
    if (effect->kind == EFFECT_ENGINE_LOOK)
        return look(main, loop);
    enum status status =
        engine_thread_give(main->engine, effect->kind, effect->id, effect->request);
    if (status == STATUS_OK)
        effect->request = NULL;
    return status;
}

/* Inside a collective the thread cannot be ended but with the process; what it had to say is
 * reported. */
static void shell_close(void *self)
{
    struct runner_main *main = self;
    const struct runner *runner = loop_actor(main->loop);
    const int exit_code = runner->status == RANK_FAILED ? EXIT_CODE_FAILED : EXIT_CODE_OK;
    if (!engine_thread_close(main->engine, ENGINE_END_MS))
        _exit(exit_code);
}

int main(int argc, char **argv)
{
    static struct runner_main self;
    struct reason reason = {""};
    enum status status = process_open(&self.process, ACTOR_RUNNER, argc, argv, NULL, &reason);
    if (status == STATUS_OK && !self.process.has_rank)
        status = refuse(&reason, STATUS_INVALID,
                        "a runner is started by its node for a rank, not by hand; to try a model "
                        "alone use troupe-engine");
    if (status == STATUS_OK)
        status = weight_fault_install(&reason);
    if (status == STATUS_OK)
        status = process_keep(&self.process, actor_rights(ACTOR_RUNNER), &reason);
    if (status != STATUS_OK)
        return process_failed(&self.process, status, &reason);
    const struct process *process = &self.process;
    const char *fabric = getenv(FABRIC_VARIABLE);
    self.settings = (struct runner_settings){.session = {.actor = ACTOR_RUNNER,
                                                         .incarnation = process->incarnation,
                                                         .key = process->pair.public_key,
                                                         .build = process->build,
                                                         .wants_events = true,
                                                         .has_rank = true,
                                                         .instance_id = process->instance_id,
                                                         .generation = process->generation,
                                                         .rank = process->rank},
                                             .instance_id = process->instance_id,
                                             .generation = process->generation,
                                             .rank = process->rank,
                                             .requests_waiting =
                                                 setting(&self, CONFIG_KEY_REQUESTS_WAITING)};
    const char *front = getenv(FRONT_VARIABLE);
    fabric = fabric && fabric[0] ? fabric : "127.0.0.1";
    front = front && front[0] ? front : fabric;
    const char *ways = getenv(FABRIC_WAYS_VARIABLE);
    const bool has_ways = ways && ways[0];
    /* Siblings, and gateways, then come to more than one. */
    (void)snprintf(self.settings.bind, sizeof(self.settings.bind), "tcp://%.100s:0",
                   has_ways ? "0.0.0.0" : fabric);
    (void)snprintf(self.settings.front, sizeof(self.settings.front), "tcp://%.100s:0",
                   has_ways ? "0.0.0.0" : front);
    (void)snprintf(self.settings.fabric, sizeof(self.settings.fabric), "%.63s", fabric);
    (void)snprintf(self.settings.fronted, sizeof(self.settings.fronted), "%.63s", front);
    const struct loop_options options = {
        .ops = &runner_ops,
        .settings = &self.settings,
        .shell = {
            .self = &self, .open = shell_open, .perform = shell_perform, .close = shell_close}};
    int exit_code = process_run(&self.process, &options);
    process_close(&self.process);
    return exit_code;
}
