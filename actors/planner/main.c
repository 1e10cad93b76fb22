/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/actors.h"
#include "actors/planner/planner.h"

#include "runtime/process.h"

int main(int argc, char **argv)
{
    struct process process;
    struct reason reason = {""};
    enum status status = process_open(&process, ACTOR_PLANNER, argc, argv, NULL, &reason);
    if (status != STATUS_OK)
        return process_failed(&process, status, &reason);
    status = process_keep(&process, actor_rights(ACTOR_PLANNER), &reason);
    if (status != STATUS_OK)
        return process_failed(&process, status, &reason);
    const struct session_settings settings = {.actor = ACTOR_PLANNER,
                                              .incarnation = process.incarnation,
                                              .build = process.build,
                                              .wants_events = true};
    const struct loop_options options = {.ops = &planner_ops, .settings = &settings};
    int exit_code = process_run(&process, &options);
    process_close(&process);
    return exit_code;
}
