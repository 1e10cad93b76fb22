/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/shell.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/epoch_file.h"
#include "runtime/machine.h"
#include "runtime/kernel_rates.h"

#include <stdio.h>
#include <string.h>

/* ---- opening ---- */

static enum status replay(struct master_shell *shell, struct state *state, struct reason *reason)
{
    struct event_log_reader *reader = NULL;
    enum status status = event_log_reader_open(shell->log_path, shell->disk, &reader, reason);
    if (status == STATUS_OK)
        status = event_log_reader_seek(reader, state->index + 1, reason);
    const uint64_t last = event_log_durable(shell->log).index;
    while (status == STATUS_OK && state->index < last) {
        struct event_record record;
        struct message event;
        status = event_log_reader_next(reader, &record, reason);
        if (status != STATUS_OK)
            break;
        status = message_decode(record.body, record.body_size, &event, reason);
        if (status != STATUS_OK)
            break;
        status = state_apply(state, &event);
        message_fini(&event);
        if (status != STATUS_OK)
            (void)refuse(reason, status, "event %llu of the log cannot be applied: %s",
                         (unsigned long long)record.stamp.index, status_text(status));
    }
    event_log_reader_close(reader);
    return status;
}

static enum status recover_state(struct master_shell *shell, struct state *state,
                                 struct reason *reason)
{
    struct event_snapshot snapshot;
    state_init(state);
    enum status status = event_log_snapshot_read(shell->log, &snapshot, reason);
    if (status == STATUS_OK) {
        status = state_decode(snapshot.state, snapshot.state_size, state, reason);
        event_snapshot_fini(&snapshot);
        if (status != STATUS_OK)
            state_init(state); /* another build wrote it: every event is still in the log */
    }
    if (event_log_durable(shell->log).index <= state->index)
        return STATUS_OK;
    status = replay(shell, state, reason);
    if (status != STATUS_OK)
        state_fini(state);
    return status;
}

static enum status read_promise(struct master_shell *shell, struct master_settings *settings,
                                struct reason *reason)
{
    struct event_epoch epoch;
    enum status status = epoch_file_read(shell->disk, shell->log_path, &epoch, reason);
    const struct event_epoch *tail = &settings->tail.epoch;
    settings->promised = (struct epoch){tail->number, tail->leader};
    if (status == STATUS_NOT_FOUND || status == STATUS_DAMAGED)
        return STATUS_OK;
    if (status == STATUS_OK && event_epoch_compare(&epoch, tail) > 0)
        settings->promised = (struct epoch){epoch.number, epoch.leader};
    return status;
}

/* The state of all that is whole; a damaged log gets the rest from a peer. */
static enum status open_state(struct master_shell *shell, struct master_settings *settings,
                              struct reason *notice, struct reason *reason)
{
    const bool is_whole = event_log_damage(shell->log) == NULL;
    settings->lost_index = 0;
    settings->needs_state = false;
    enum status status = recover_state(shell, settings->state, reason);
    if (status == STATUS_OK) {
        settings->tail = event_log_durable(shell->log);
        shell->reported = settings->tail.index;
    }
    if (is_whole || status == STATUS_NO_MEMORY)
        return status;
    if (status != STATUS_OK) { /* the beginning is lost too */
        state_init(settings->state);
        settings->tail = (struct event_stamp){0};
    }
    status = shell_repair_open(shell, settings, status == STATUS_OK, notice, reason);
    if (status != STATUS_OK)
        state_fini(settings->state);
    return status;
}

enum status master_shell_open(struct master_shell *shell, struct master_settings *settings,
                              struct reason *notice, struct reason *reason)
{
    const struct event_log_options options = {
        .path = shell->log_path,
        .disk = shell->disk,
        .cluster = settings->cluster_id,
        .segment_size = shell->segment_size,
        .retain_size = shell->retain_size,
        .accept_damage = true};
    struct event_log_recovery recovery;
    enum status status = event_log_open(&options, &shell->log, &recovery, reason);
    if (status != STATUS_OK)
        return status;
    if (recovery.cut_size > 0)
        (void)snprintf(notice->text, sizeof(notice->text),
                       "cut a torn tail of %llu bytes at offset %llu of %s; nothing acknowledged "
                       "was in it",
                       (unsigned long long)recovery.cut_size,
                       (unsigned long long)recovery.cut_offset, recovery.cut_file);
    status = open_state(shell, settings, notice, reason);
    if (status == STATUS_OK)
        status = read_promise(shell, settings, reason);
    if (status != STATUS_OK) {
        event_log_close(shell->log);
        shell->log = NULL;
    }
    return status;
}

void master_shell_close(struct master_shell *shell)
{
    event_log_reader_close(shell->reader);
    event_log_close(shell->log);
    shell->reader = NULL;
    shell->log = NULL;
}

/* ---- answering the step ---- */

static void answer(struct master_shell *shell, const struct effect *effect, enum status status,
                   void *value, void (*value_free)(void *))
{
    struct result result = {.id = effect->id,
                            .kind = effect->kind,
                            .status = status,
                            .value = value,
                            .value_free = value_free};
    shell->post(shell, &result);
}

static void synced_free(void *value)
{
    struct log_synced *synced = value;
    if (synced)
        memory_free(synced->stamps);
    memory_free(synced);
}

/* Tells which records became durable. */
static enum status tell_synced(struct master_shell *shell)
{
    const struct event_stamp last = event_log_durable(shell->log);
    if (last.index <= shell->reported)
        return STATUS_OK;
    struct log_synced *synced = memory_zeroed(1, sizeof(*synced));
    struct event_stamp *stamps =
        memory_zeroed((size_t)(last.index - shell->reported), sizeof(*stamps));
    if (!synced || !stamps) {
        memory_free(synced);
        memory_free(stamps);
        return STATUS_NO_MEMORY;
    }
    synced->stamps = stamps;
    synced->is_damaged = event_log_damage(shell->log) != NULL;
    struct reason reason;
    for (uint64_t index = shell->reported + 1; index <= last.index; index++) {
        enum status status = event_log_stamp(shell->log, index, &stamps[synced->count], &reason);
        if (status != STATUS_OK) {
            synced_free(synced);
            return status;
        }
        synced->count++;
    }
    shell->reported = last.index;
    const struct effect unasked = {.kind = RESULT_LOG_SYNCED};
    answer(shell, &unasked, STATUS_OK, synced, synced_free);
    return STATUS_OK;
}

enum status master_shell_after_batch(struct master_shell *shell, struct reason *reason)
{
    if (!shell->has_appended)
        return event_log_settle(shell->log, reason);
    enum status status = event_log_sync(shell->log, reason);
    if (status == STATUS_NO_SPACE) {
        const struct effect unasked = {.kind = RESULT_LOG_FULL};
        answer(shell, &unasked, status, NULL, NULL);
        return STATUS_OK; /* tried again after the next batch */
    }
    if (status != STATUS_OK)
        return status;
    shell->has_appended = false;
    shell_repair_check(shell);
    return tell_synced(shell);
}

/* ---- effects ---- */

static enum status append(struct master_shell *shell, const struct effect *effect,
                          struct reason *reason)
{
    const struct log_write *write = effect->request;
    const struct log_record *record = &write->record;
    const struct event_epoch epoch = {write->epoch.number, write->epoch.leader};
    shell->has_appended = true;
    if (effect->kind == EFFECT_LOG_APPEND)
        return event_log_append(shell->log, epoch, record->time_ms, (uint16_t)write->kind,
                                record->body.items, record->body.count, NULL, reason);
    struct message event;
    enum status status = message_decode(record->body.items, record->body.count, &event, reason);
    if (status != STATUS_OK)
        return STATUS_OK; /* nonsense of a leader: not taken; our beat shows where we stand */
    const struct event_record copy = {.stamp = {record->index, epoch, record->chain},
                                      .time_ms = record->time_ms,
                                      .kind = (uint16_t)event.head.code,
                                      .body = record->body.items,
                                      .body_size = record->body.count};
    message_fini(&event);
    status = shell_repair_append(shell, &copy, reason);
    return status == STATUS_GAP ? STATUS_OK : status;
}

static void records_free(void *value)
{
    record_fini(&records_sent_type, value);
    memory_free(value);
}

static enum status collect(struct master_shell *shell, const struct log_question *question,
                           struct records_sent *records, struct reason *reason)
{
    const uint64_t last = event_log_durable(shell->log).index;
    enum status status = STATUS_OK;
    if (!shell->reader)
        status = event_log_reader_open(shell->log_path, shell->disk, &shell->reader, reason);
    if (status == STATUS_OK)
        status = event_log_reader_seek(shell->reader, question->index, reason);
    if (status != STATUS_OK)
        return status;
    const struct event_stamp before = event_log_reader_stamp(shell->reader);
    records->previous_index = question->index - 1;
    records->previous_chain = before.chain;
    size_t size = 0;
    while (records->records.count < question->count && size < PART_SIZE_MAX / 2) {
        struct event_record read;
        if (question->index + records->records.count > last)
            break;
        status = event_log_reader_next(shell->reader, &read, reason);
        if (status != STATUS_OK)
            return status;
        const struct log_record record = {
            .index = read.stamp.index,
            .epoch = {read.stamp.epoch.number, read.stamp.epoch.leader},
            .time_ms = read.time_ms,
            .chain = read.stamp.chain};
        struct log_record *copy = record_list_push(&log_record_type, RECORD_LIST(records->records),
                                                   &record, RECORDS_PER_APPEND_MAX);
        if (!copy || !bytes_set(&copy->body, read.body, read.body_size))
            return STATUS_NO_MEMORY;
        size += read.body_size;
    }
    return STATUS_OK;
}

static enum status read_records(struct master_shell *shell, const struct effect *effect)
{
    struct records_sent *records = memory_zeroed(1, sizeof(*records));
    struct reason reason;
    if (!records)
        return STATUS_NO_MEMORY;
    enum status status = collect(shell, effect->request, records, &reason);
    answer(shell, effect, status, records, records_free);
    return STATUS_OK;
}

static enum status read_chain(struct master_shell *shell, const struct effect *effect)
{
    const struct log_question *question = effect->request;
    struct event_stamp *stamp = memory_zeroed(1, sizeof(*stamp));
    struct reason reason;
    if (!stamp)
        return STATUS_NO_MEMORY;
    enum status status = event_log_stamp(shell->log, question->index, stamp, &reason);
    stamp->index = question->index;
    answer(shell, effect, status, stamp, memory_free);
    return STATUS_OK;
}

static enum status truncate_log(struct master_shell *shell, const struct effect *effect,
                                struct reason *reason)
{
    const struct log_question *question = effect->request;
    char branch[EVENT_LOG_NAME_SIZE];
    const uint64_t last = event_log_durable(shell->log).index;
    shell->lost_end = LOST_PARTED;
    enum status status = event_log_truncate_to(shell->log, question->index, branch, reason);
    event_log_reader_close(shell->reader);
    shell->reader = NULL;
    if (status != STATUS_OK)
        return status;
    shell_repair_check(shell);
    if (branch[0])
        shell_tell_branch(shell, question->index + 1, last, branch);
    shell->reported = question->index;
    struct log_synced *synced = memory_zeroed(1, sizeof(*synced));
    const struct event_stamp durable = event_log_durable(shell->log);
    struct event_stamp *stamp = memory_copied(&durable, sizeof(durable));
    if (!synced || !stamp) {
        memory_free(synced);
        memory_free(stamp);
        return STATUS_NO_MEMORY;
    }
    *synced = (struct log_synced){
        .stamps = stamp, .count = 1, .is_damaged = event_log_damage(shell->log) != NULL};
    const struct effect unasked = {.kind = RESULT_LOG_SYNCED};
    answer(shell, &unasked, STATUS_OK, synced, synced_free);
    return STATUS_OK;
}

static enum status install(struct master_shell *shell, const struct effect *effect,
                           struct reason *reason)
{
    struct event_snapshot *snapshot = effect->request;
    shell->lost_end =
        snapshot->stamp.index >= shell->lost_last ? LOST_COVERED : LOST_PARTED;
    enum status status = event_log_install_snapshot(shell->log, snapshot, reason);
    shell->reported = snapshot->stamp.index;
    event_log_reader_close(shell->reader);
    shell->reader = NULL;
    if (status == STATUS_OK)
        shell_repair_check(shell);
    return status;
}

static enum status write_snapshot(struct master_shell *shell, struct effect *effect,
                                  struct reason *reason)
{
    struct state_write *write = effect->request;
    enum status status = STATUS_OK;
    if (event_log_damage(shell->log))
        return STATUS_OK; /* when it is whole */
    if (event_log_durable(shell->log).index >= write->index)
        status = event_log_snapshot_write(shell->log, write->index, &write->hash,
                                          write->bytes.bytes, write->bytes.size, reason);
    if (status == STATUS_OK)
        status = event_log_retire(shell->log, reason);
    return status == STATUS_NO_SPACE ? STATUS_OK : status; /* the next one may fit */
}

static void load_free(void *value)
{
    record_fini(&node_load_type, value);
    memory_free(value);
}

/* What the kernels of this machine manage; nothing before it was measured. */
static enum status add_kernels(const struct master_shell *shell, struct node_load *load)
{
    struct kernel_rates rates;
    if (!shell->kernels_path || !kernel_rates_read(shell->kernels_path, &rates))
        return STATUS_OK;
    for (uint32_t i = 0; i < rates.count; i++)
        if (!record_list_push(&kernel_rate_type, RECORD_LIST(load->kernels), &rates.rates[i],
                              KERNEL_RATE_COUNT_MAX))
            return STATUS_NO_MEMORY;
    load->entry_ns = rates.entry_ns;
    load->near_ns = rates.near_ns;
    load->near_bytes_per_s = rates.near_bytes_per_s;
    load->fresh_bytes_per_s = rates.fresh_bytes_per_s;
    load->wake_ns = rates.wake_ns;
    return STATUS_OK;
}

static enum status probe(struct master_shell *shell, const struct effect *effect)
{
    struct node_load *load = memory_zeroed(1, sizeof(*load));
    if (!load)
        return STATUS_NO_MEMORY;
    load->memory_free = machine_memory_free();
    load->memory_total = machine_memory_total();
    load->cpu = machine_load();
    load->disk_free =
        machine_disk_free(shell->store_path ? shell->store_path : shell->log_path);
    answer(shell, effect, add_kernels(shell, load), load, load_free);
    return STATUS_OK;
}

static enum status read_interfaces(struct master_shell *shell, const struct effect *effect)
{
    struct interface_offers *offers = memory_zeroed(1, sizeof(*offers));
    if (!offers)
        return STATUS_NO_MEMORY;
    interface_offers_here(shell->listen, shell->thunderbolt_mbit, offers);
    answer(shell, effect, STATUS_OK, offers, memory_free);
    return STATUS_OK;
}

static enum status write_epoch(struct master_shell *shell, const struct effect *effect,
                               struct reason *reason)
{
    const struct epoch *epoch = effect->request;
    const struct event_epoch written = {epoch->number, epoch->leader};
    return epoch_file_write(shell->disk, shell->log_path, &written, reason);
}

enum status master_shell_perform(struct master_shell *shell, struct effect *effect,
                                 struct reason *reason)
{
    switch ((enum master_effect)effect->kind) {
    case EFFECT_LOG_APPEND:
    case EFFECT_LOG_COPY:
        return append(shell, effect, reason);
    case EFFECT_LOG_READ:
        return read_records(shell, effect);
    case EFFECT_LOG_CHAIN:
        return read_chain(shell, effect);
    case EFFECT_LOG_TRUNCATE:
        return truncate_log(shell, effect, reason);
    case EFFECT_LOG_INSTALL:
        return install(shell, effect, reason);
    case EFFECT_EPOCH_WRITE:
        return write_epoch(shell, effect, reason);
    case EFFECT_SNAPSHOT_WRITE:
        return write_snapshot(shell, effect, reason);
    case EFFECT_PROBE:
        return probe(shell, effect);
    case EFFECT_INTERFACES:
        return read_interfaces(shell, effect);
    case EFFECT_NODES_WRITE:
        return shell_nodes_write(shell, effect->request, reason);
    case RESULT_LOG_SYNCED:
    case RESULT_LOG_FULL:
        break;
    }
    return STATUS_INTERNAL;
}
