/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/sim.h"

#include "protocol/hash.h"
#include "protocol/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum sim_happening { HAPPEN_INPUT, HAPPEN_CONNECT, HAPPEN_SYNC, HAPPEN_START };

/* Something that will happen to a process, unless it dies first. */
struct sim_event {
    uint64_t at_ms;
    uint64_t serial;
    enum sim_happening what;
    uint32_t process; /* node * SIM_ROLE_COUNT + role */
    uint64_t life;
    enum input_kind kind;
    struct peer peer;
    uint32_t connection; /* with its serial: dropped when that is gone */
    uint64_t connection_serial;
    uint8_t *bytes;
    size_t size;
    struct result result;
    uint64_t tries;
};

/* ---- time ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->serial < b->serial;
}

static void event_fini(struct sim_event *event)
{
    memory_free(event->bytes);
    result_fini(&event->result);
}

static void event_push(struct sim *sim, struct sim_event *event)
{
    event->serial = ++sim->serial;
    if (sim->event_count == sim->event_capacity) {
        sim->event_capacity = sim->event_capacity ? sim->event_capacity * 2 : 256;
        sim->events = memory_resized(sim->events, sim->event_capacity, sizeof(*event));
        ASSERT(sim->events != NULL);
    }
    size_t at = sim->event_count++;
    while (at > 0 && is_before(event, &sim->events[(at - 1) / 2])) {
        sim->events[at] = sim->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->events[at] = *event;
}

static struct sim_event event_pop(struct sim *sim)
{
    struct sim_event first = sim->events[0];
    const struct sim_event last = sim->events[--sim->event_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sim->event_count)
            break;
        if (child + 1 < sim->event_count &&
            is_before(&sim->events[child + 1], &sim->events[child]))
            child++;
        if (!is_before(&sim->events[child], &last))
            break;
        sim->events[at] = sim->events[child];
        at = child;
    }
    sim->events[at] = last;
    return first;
}

void sim_break(struct sim *sim, const char *format, ...)
{
    if (sim->broken[0])
        return;
    va_list arguments;
    int used = snprintf(sim->broken, sizeof(sim->broken), "at %" PRIu64 " ms: ", sim->now_ms);
    va_start(arguments, format);
    (void)vsnprintf(sim->broken + used, sizeof(sim->broken) - (size_t)used, format, arguments);
    va_end(arguments);
}

static struct sim_process *process_at(struct sim *sim, uint32_t number)
{
    return &sim->nodes[number / SIM_ROLE_COUNT].processes[number % SIM_ROLE_COUNT];
}

static uint64_t delay_ms(struct sim *sim, uint32_t from, uint32_t to)
{
    if (from / SIM_ROLE_COUNT == to / SIM_ROLE_COUNT)
        return 0;
    return 1 + seeded_below(&sim->seeded, sim->delay_max_ms);
}

/* ---- connections ---- */

static struct peer server_peer(const struct sim_connection *connection, uint32_t number)
{
    struct peer peer = {.link = connection->server_link, .route_size = 5, .key = connection->key};
    memcpy(peer.route, &connection->serial, 4);
    peer.route[4] = (uint8_t)number;
    return peer;
}

static void input_later(struct sim *sim, uint32_t process, uint64_t at_ms, enum input_kind kind,
                        const struct peer *peer)
{
    struct sim_event event = {.at_ms = at_ms,
                              .what = HAPPEN_INPUT,
                              .process = process,
                              .life = process_at(sim, process)->life,
                              .kind = kind,
                              .peer = *peer};
    event_push(sim, &event);
}

static void connect_later(struct sim *sim, uint32_t process, uint32_t link, uint64_t at_ms)
{
    struct sim_process *from = process_at(sim, process);
    struct sim_event event = {.at_ms = at_ms,
                              .what = HAPPEN_CONNECT,
                              .process = process,
                              .life = from->life,
                              .peer = {.link = link},
                              .tries = ++from->links[link].tries};
    event_push(sim, &event);
}

/* Both ends that live learn of it a little later; what was on the way is lost. */
static void connection_break(struct sim *sim, uint32_t number, uint64_t notice_ms)
{
    struct sim_connection *connection = &sim->connections[number];
    if (!connection->is_used)
        return;
    struct sim_process *client = process_at(sim, connection->client);
    struct sim_link *link = &client->links[connection->client_link];
    const struct peer up = peer_of_link(connection->client_link);
    const struct peer down = server_peer(connection, number);
    if (client->actor && link->is_open && link->connection == number) {
        link->connection = 0;
        uint64_t at_ms = sim->now_ms + seeded_below(&sim->seeded, notice_ms + 1);
        input_later(sim, connection->client, at_ms, INPUT_LINK_DOWN, &up);
        connect_later(sim, connection->client, connection->client_link,
                      at_ms + 50 + seeded_below(&sim->seeded, 200));
    }
    if (connection->server_knows && process_at(sim, connection->server)->actor)
        input_later(sim, connection->server,
                    sim->now_ms + seeded_below(&sim->seeded, notice_ms + 1), INPUT_LINK_DOWN,
                    &down);
    connection->is_used = false;
}

static uint32_t find_server(struct sim *sim, uint32_t client, const struct link_options *options,
                            uint32_t *link_out)
{
    const bool is_local = strncmp(options->endpoint, "ipc://", 6) == 0;
    for (uint32_t node = 0; node < sim->node_count; node++) {
        uint32_t number = node * SIM_ROLE_COUNT + SIM_MASTER;
        struct sim_process *master = process_at(sim, number);
        uint32_t link = is_local ? MASTER_LINK_LOCAL : MASTER_LINK_PEERS;
        if (!master->actor || !master->links[link].is_open ||
            strcmp(master->links[link].options.endpoint, options->endpoint) != 0 ||
            (is_local && node != client / SIM_ROLE_COUNT))
            continue;
        *link_out = link;
        return number;
    }
    return UINT32_MAX;
}

static bool is_allowed(const struct sim_link *link, const struct public_key *key)
{
    for (size_t i = 0; i < link->allowed_count; i++)
        if (ID_EQUAL(link->allowed[i], *key))
            return true;
    return false;
}

static void try_connect(struct sim *sim, const struct sim_event *event)
{
    struct sim_process *client = process_at(sim, event->process);
    struct sim_link *link = &client->links[event->peer.link];
    uint32_t server_link = 0;
    if (!link->is_open || link->connection || link->tries != event->tries)
        return;
    uint32_t server = find_server(sim, event->process, &link->options, &server_link);
    uint32_t here = event->process / SIM_ROLE_COUNT;
    const bool is_local = server_link == MASTER_LINK_LOCAL;
    struct public_key key = {{0}};
    bool fits = server != UINT32_MAX && !sim->is_cut[here][server / SIM_ROLE_COUNT];
    if (fits && !is_local) {
        key = link->options.has_own_pair ? link->options.own_pair.public_key
                                         : sim->nodes[here].identity.transport_pair.public_key;
        const struct sim_node *there = &sim->nodes[server / SIM_ROLE_COUNT];
        fits = is_allowed(&process_at(sim, server)->links[server_link], &key) &&
               ID_EQUAL(link->options.server_key, there->identity.transport_pair.public_key);
    }
    uint32_t number = 1;
    while (fits && number < SIM_CONNECTIONS_MAX && sim->connections[number].is_used)
        number++;
    if (!fits || number == SIM_CONNECTIONS_MAX) {
        connect_later(sim, event->process, event->peer.link,
                      sim->now_ms + 100 + seeded_below(&sim->seeded, is_local ? 100 : 900));
        return;
    }
    sim->connections[number] = (struct sim_connection){.is_used = true,
                                                       .client = event->process,
                                                       .client_link = event->peer.link,
                                                       .server = server,
                                                       .server_link = server_link,
                                                       .serial = ++sim->serial,
                                                       .key = key};
    link->connection = number;
    const struct peer peer = peer_of_link(event->peer.link);
    input_later(sim, event->process, sim->now_ms, INPUT_LINK_UP, &peer);
}

static void send_bytes(struct sim *sim, uint32_t process, const struct peer *to,
                       struct outbox_item *item)
{
    struct sim_process *from = process_at(sim, process);
    uint32_t number = to->route_size ? to->route[4] : from->links[to->link].connection;
    struct sim_connection *connection = &sim->connections[number];
    const struct peer expected = server_peer(connection, number);
    if (number == 0 || !connection->is_used || (to->route_size && !peer_equal(&expected, to)))
        return;
    const bool is_up = to->route_size == 0;
    uint32_t target = is_up ? connection->server : connection->client;
    uint64_t at_ms = sim->now_ms + delay_ms(sim, process, target);
    uint64_t *last_ms = &connection->last_ms[is_up];
    at_ms = at_ms > *last_ms ? at_ms : *last_ms;
    *last_ms = at_ms;
    struct sim_event event = {.at_ms = at_ms,
                              .what = HAPPEN_INPUT,
                              .process = target,
                              .life = process_at(sim, target)->life,
                              .kind = INPUT_MESSAGE,
                              .peer = is_up ? expected : peer_of_link(connection->client_link),
                              .connection = number,
                              .connection_serial = connection->serial,
                              .bytes = item->bytes,
                              .size = item->size};
    item->bytes = NULL;
    event_push(sim, &event);
}

/* ---- processes ---- */

static void process_end(struct sim *sim, uint32_t number)
{
    struct sim_process *process = process_at(sim, number);
    struct sim_node *node = &sim->nodes[number / SIM_ROLE_COUNT];
    if (!process->actor)
        return;
    if (number % SIM_ROLE_COUNT == SIM_MASTER) {
        master_shell_close(&node->shell);
        memory_disk_kill(node->disk);
        state_fini(&node->state);
    }
    if (process->ops->fini)
        process->ops->fini(process->actor);
    memory_free(process->actor);
    process->actor = NULL;
    process->life++;
    outbox_fini(&process->outbox);
    for (uint32_t i = 1; i < SIM_CONNECTIONS_MAX; i++)
        if (sim->connections[i].is_used &&
            (sim->connections[i].client == number || sim->connections[i].server == number))
            connection_break(sim, i, 20);
    memset(process->links, 0, sizeof(process->links));
}

static void restart_later(struct sim *sim, uint32_t number, uint64_t ms)
{
    struct sim_event event = {.at_ms = sim->now_ms + ms,
                              .what = HAPPEN_START,
                              .process = number,
                              .life = process_at(sim, number)->life};
    event_push(sim, &event);
}

static void link_open(struct sim *sim, uint32_t number, const struct outbox_item *item)
{
    struct sim_link *link = &process_at(sim, number)->links[item->peer.link];
    ASSERT(item->peer.link < SIM_LINKS_MAX);
    link->is_open = true;
    link->connection = 0;
    link->options = *item->options;
    if (link->options.role == LINK_BIND)
        input_later(sim, number, sim->now_ms, INPUT_LINK_BOUND, &item->peer);
    else
        connect_later(sim, number, item->peer.link,
                      sim->now_ms + 1 + seeded_below(&sim->seeded, 20));
}

static void link_close(struct sim *sim, uint32_t number, uint32_t at)
{
    struct sim_link *link = &process_at(sim, number)->links[at];
    const uint32_t connection = link->connection;
    link->is_open = false;
    link->connection = 0;
    link->tries++;
    if (connection)
        connection_break(sim, connection, 20);
}

static void link_allow(struct sim *sim, uint32_t number, const struct outbox_item *item)
{
    struct sim_link *link = &process_at(sim, number)->links[item->peer.link];
    memcpy(link->allowed, item->keys, item->key_count * sizeof(item->keys[0]));
    link->allowed_count = item->key_count;
    for (uint32_t i = 1; i < SIM_CONNECTIONS_MAX; i++)
        if (sim->connections[i].is_used && sim->connections[i].server == number &&
            sim->connections[i].server_link == item->peer.link &&
            !is_allowed(link, &sim->connections[i].key))
            connection_break(sim, i, 20);
}

static void perform(struct sim *sim, uint32_t number, struct effect *effect)
{
    struct sim_node *node = &sim->nodes[number / SIM_ROLE_COUNT];
    struct reason reason = {""};
    if (effect->kind == EFFECT_PROBE) {
        struct node_load *load = memory_zeroed(1, sizeof(*load));
        ASSERT(load != NULL);
        *load = (struct node_load){.memory_free = node->memory_free,
                                   .memory_total = node->memory_free};
        const struct result result = {
            .kind = effect->kind, .value = load, .value_free = memory_free};
        node->shell.post(&node->shell, &result);
        return;
    }
    enum status status = master_shell_perform(&node->shell, effect, &reason);
    if (status != STATUS_OK)
        sim_break(sim, "node %u: effect %u failed: %s: %s", number / SIM_ROLE_COUNT, effect->kind,
                  status_text(status), reason.text);
    struct sim_process *process = process_at(sim, number);
    if (process->sync_is_due)
        return;
    process->sync_is_due = true;
    struct sim_event event = {.at_ms = sim->now_ms + seeded_below(&sim->seeded, 6),
                              .what = HAPPEN_SYNC,
                              .process = number,
                              .life = process->life};
    event_push(sim, &event);
}

static void carry_out(struct sim *sim, uint32_t number)
{
    struct sim_process *process = process_at(sim, number);
    bool is_exit = false;
    for (size_t i = 0; i < process->outbox.count && !is_exit; i++) {
        struct outbox_item *item = &process->outbox.items[i];
        switch (item->kind) {
        case OUTBOX_SEND:
            send_bytes(sim, number, &item->peer, item);
            break;
        case OUTBOX_LINK_OPEN:
            link_open(sim, number, item);
            break;
        case OUTBOX_LINK_CLOSE:
            link_close(sim, number, item->peer.link);
            break;
        case OUTBOX_LINK_ALLOW:
            link_allow(sim, number, item);
            break;
        case OUTBOX_PEER_DROP:
        case OUTBOX_READY:
        case OUTBOX_STATUS:
            break;
        case OUTBOX_EFFECT:
            perform(sim, number, &item->effect);
            break;
        case OUTBOX_EXIT:
            is_exit = true;
            break;
        }
    }
    outbox_clear(&process->outbox);
    if (is_exit) {
        process_end(sim, number);
        restart_later(sim, number, 200);
    }
}

/* ---- what must hold at any time ---- */

static void check_master(struct sim *sim, uint32_t node)
{
    struct master *master = sim_master(sim, node);
    if (!master || master->committed <= sim->seen[node])
        return;
    for (uint64_t index = sim->seen[node] + 1; index <= master->committed; index++) {
        const struct recent *recent = recent_find(master, index);
        if (!recent || index >= SIM_INDEX_MAX)
            continue;
        struct hash hash;
        hash_of(recent->record.body.items, recent->record.body.count, &hash);
        if (sim->is_split || ID_IS_ZERO(sim->committed[index]))
            sim->committed[index] = hash;
        else if (!ID_EQUAL(sim->committed[index], hash))
            sim_break(sim, "node %u committed another event %" PRIu64, node, index);
    }
    sim->seen[node] = master->committed;
    if (master->committed > sim->committed_last)
        sim->committed_last = master->committed;
    struct hash hash;
    if (master->committed != master->state.index || master->committed >= SIM_INDEX_MAX)
        return;
    ASSERT(state_hash(&master->state, &hash) == STATUS_OK);
    if (sim->is_split || ID_IS_ZERO(sim->hashes[master->committed]))
        sim->hashes[master->committed] = hash;
    else if (!ID_EQUAL(sim->hashes[master->committed], hash))
        sim_break(sim, "node %u has another state at %" PRIu64, node, master->committed);
}

static void check_leaders(struct sim *sim)
{
    for (uint32_t a = 0; a < sim->node_count; a++)
        for (uint32_t b = a + 1; b < sim->node_count; b++) {
            struct master *x = sim_master(sim, a);
            struct master *y = sim_master(sim, b);
            if (x && y && is_leader(x) && is_leader(y) && epoch_compare(&x->epoch, &y->epoch) == 0)
                sim_break(sim, "nodes %u and %u lead in one epoch", a, b);
        }
}

static void step(struct sim *sim, uint32_t number, struct input *input)
{
    struct sim_process *process = process_at(sim, number);
    struct reason reason = {""};
    input->now_ms = sim->now_ms;
    input->now_us = sim->now_ms * 1000u;
    input->wall_ms = SIM_WALL_MS + sim->now_ms;
    input->random = seeded_next(&sim->seeded);
    enum status status =
        process->ops->step(process->actor, input, &process->outbox, &reason);
    if (status == STATUS_OK)
        status = process->outbox.failed;
    if (status != STATUS_OK) {
        sim_break(sim, "node %u: a step of its %s failed: %s: %s", number / SIM_ROLE_COUNT,
                  process->ops->name, status_text(status), reason.text);
        return;
    }
    carry_out(sim, number);
    if (number % SIM_ROLE_COUNT == SIM_MASTER) {
        check_master(sim, number / SIM_ROLE_COUNT);
        check_leaders(sim);
    }
}

static void post(struct master_shell *shell, const struct result *result)
{
    struct sim *sim = shell->target;
    for (uint32_t node = 0; node < sim->node_count; node++) {
        if (&sim->nodes[node].shell != shell)
            continue;
        uint32_t number = node * SIM_ROLE_COUNT + SIM_MASTER;
        struct sim_event event = {.at_ms = sim->now_ms,
                                  .what = HAPPEN_INPUT,
                                  .process = number,
                                  .life = process_at(sim, number)->life,
                                  .kind = INPUT_RESULT,
                                  .result = *result};
        event_push(sim, &event);
    }
}

static void told_add(struct sim_node *node, const char *sentence)
{
    size_t length = strlen(node->told);
    (void)snprintf(node->told + length, sizeof(node->told) - length, "%s\n", sentence);
}

static void tell(struct master_shell *shell, const char *sentence)
{
    struct sim *sim = shell->target;
    for (uint32_t node = 0; node < sim->node_count; node++)
        if (&sim->nodes[node].shell == shell)
            told_add(&sim->nodes[node], sentence);
}

static bool open_master(struct sim *sim, uint32_t at)
{
    struct sim_node *node = &sim->nodes[at];
    struct reason notice = {""};
    struct reason reason = {""};
    node->settings.incarnation = seeded_next(&sim->seeded) | 1;
    node->settings.join = node->has_token ? &node->token : NULL;
    node->settings.state = &node->state;
    node->settings.snapshot_every = node->keeps_little ? 20 : 0;
    node->shell = (struct master_shell){.disk = memory_disk_ops(node->disk),
                                        .log_path = "log",
                                        .segment_size = node->keeps_little ? 2048 : 0,
                                        .retain_size = node->keeps_little ? 4096 : 0,
                                        .post = post,
                                        .tell = tell,
                                        .target = sim};
    enum status status = master_shell_open(&node->shell, &node->settings, &notice, &reason);
    if (status != STATUS_OK) {
        sim_break(sim, "node %u: its log cannot be opened: %s", at, reason.text);
        return false;
    }
    if (notice.text[0])
        told_add(node, notice.text);
    if (state_find_node(&node->state, &node->settings.node_id))
        node->settings.join = NULL;
    sim->seen[at] = 0;
    return true;
}

void sim_start(struct sim *sim, uint32_t node, enum sim_role role)
{
    const uint32_t number = node * SIM_ROLE_COUNT + (uint32_t)role;
    struct sim_process *process = process_at(sim, number);
    struct reason reason = {""};
    if (process->actor || (role == SIM_MASTER && !open_master(sim, node)))
        return;
    process->life++;
    process->actor = memory_zeroed(1, process->ops->memory_size);
    ASSERT(process->actor != NULL);
    outbox_init(&process->outbox);
    process->sync_is_due = false;
    process->frozen_until_ms = 0;
    if (role != SIM_MASTER)
        sim->nodes[node].sessions[role].incarnation = seeded_next(&sim->seeded) | 1;
    ASSERT(process->ops->init(process->actor, process->settings, &reason) == STATUS_OK);
    struct input input = {.kind = INPUT_START};
    seeded_fill(&sim->seeded, input.seed, sizeof(input.seed));
    step(sim, number, &input);
}

void sim_start_node(struct sim *sim, uint32_t node)
{
    for (uint32_t role = 0; role < SIM_ROLE_COUNT; role++)
        sim_start(sim, node, (enum sim_role)role);
}

void sim_kill(struct sim *sim, uint32_t node, enum sim_role role)
{
    process_end(sim, node * SIM_ROLE_COUNT + (uint32_t)role);
}

void sim_kill_node(struct sim *sim, uint32_t node, bool is_power)
{
    const struct memory_fault dead = {.error = EIO, .for_good = true};
    if (is_power)
        memory_disk_fail(sim->nodes[node].disk, &dead); /* closing writes nothing any more */
    for (uint32_t role = SIM_ROLE_COUNT; role-- > 0;)
        sim_kill(sim, node, (enum sim_role)role);
    if (is_power) {
        memory_disk_heal(sim->nodes[node].disk);
        memory_disk_crash(sim->nodes[node].disk, &sim->seeded);
    }
}

void sim_damage(struct sim *sim, uint32_t node, int64_t offset)
{
    const struct memory_disk *disk = sim->nodes[node].disk;
    const char *first = NULL;
    size_t size = 0;
    for (size_t i = 0; i < memory_disk_file_count(disk); i++) {
        const char *path = memory_disk_file_path(disk, i);
        if (strncmp(path, "log/0", 5) == 0 && strstr(path, ".segment") &&
            (!first || strcmp(path, first) < 0))
            first = path;
    }
    ASSERT(first != NULL && memory_disk_bytes(disk, first, &size) != NULL);
    size_t at = offset < 0 ? size - (size_t)-offset : (size_t)offset % size;
    ASSERT(at < size);
    memory_disk_flip(sim->nodes[node].disk, first, at, 1);
}

void sim_freeze(struct sim *sim, uint32_t node, enum sim_role role, uint64_t ms)
{
    process_at(sim, node * SIM_ROLE_COUNT + (uint32_t)role)->frozen_until_ms = sim->now_ms + ms;
}

void sim_cut(struct sim *sim, uint32_t a, uint32_t b, bool is_cut)
{
    sim->is_cut[a][b] = sim->is_cut[b][a] = is_cut;
    for (uint32_t i = 1; is_cut && i < SIM_CONNECTIONS_MAX; i++) {
        const struct sim_connection *connection = &sim->connections[i];
        uint32_t x = connection->client / SIM_ROLE_COUNT;
        uint32_t y = connection->server / SIM_ROLE_COUNT;
        if (connection->is_used && ((x == a && y == b) || (x == b && y == a)))
            connection_break(sim, i, 300);
    }
}

/* ---- running ---- */

static void input_happens(struct sim *sim, struct sim_event *event)
{
    struct sim_connection *connection = &sim->connections[event->connection];
    struct input input = {.kind = event->kind, .peer = event->peer};
    struct message message = {.body = NULL};
    struct reason reason = {""};
    if (event->kind == INPUT_MESSAGE) {
        if (!connection->is_used || connection->serial != event->connection_serial)
            return; /* it broke while this was on the way */
        if (event->peer.route_size && !connection->server_knows) {
            connection->server_knows = true;
            struct input up = {.kind = INPUT_LINK_UP, .peer = event->peer};
            step(sim, event->process, &up);
            if (!process_at(sim, event->process)->actor)
                return;
        }
        if (message_decode(event->bytes, event->size, &message, &reason) != STATUS_OK) {
            sim_break(sim, "a message cannot be read: %s", reason.text);
            return;
        }
        input.message = &message;
        input.bytes = event->bytes;
        input.size = event->size;
    }
    if (event->kind == INPUT_LINK_UP) {
        const struct sim_link *link = &process_at(sim, event->process)->links[event->peer.link];
        if (!link->connection)
            return;
    }
    if (event->kind == INPUT_LINK_BOUND)
        input.endpoint =
            process_at(sim, event->process)->links[event->peer.link].options.endpoint;
    if (event->kind == INPUT_RESULT) {
        input.result = &event->result;
        input.status = event->result.status;
        input.reason = event->result.reason.text;
    }
    step(sim, event->process, &input);
    message_fini(&message);
}

static void sync_happens(struct sim *sim, uint32_t number)
{
    struct sim_node *node = &sim->nodes[number / SIM_ROLE_COUNT];
    struct reason reason = {""};
    process_at(sim, number)->sync_is_due = false;
    enum status status = master_shell_after_batch(&node->shell, &reason);
    if (status != STATUS_OK)
        sim_break(sim, "node %u: its log cannot be synced: %s", number / SIM_ROLE_COUNT,
                  reason.text);
}

static void happen(struct sim *sim, struct sim_event *event)
{
    struct sim_process *process = process_at(sim, event->process);
    if (process->life != event->life)
        return;
    if (event->what == HAPPEN_START) {
        sim_start(sim, event->process / SIM_ROLE_COUNT,
                  (enum sim_role)(event->process % SIM_ROLE_COUNT));
        return;
    }
    if (!process->actor)
        return;
    if (process->frozen_until_ms > sim->now_ms) {
        struct sim_event later = *event;
        later.at_ms = process->frozen_until_ms;
        event->bytes = NULL;
        event->result = (struct result){.id = 0};
        event_push(sim, &later);
        return;
    }
    if (event->what == HAPPEN_CONNECT)
        try_connect(sim, event);
    else if (event->what == HAPPEN_SYNC)
        sync_happens(sim, event->process);
    else
        input_happens(sim, event);
}

static void wake_happens(struct sim *sim, uint32_t number)
{
    struct sim_process *process = process_at(sim, number);
    struct input input = {.kind = INPUT_WAKE};
    process->outbox.wake_ms = UINT64_MAX;
    step(sim, number, &input);
    /* A disk that was full is tried again with each batch. */
    if (process->actor && number % SIM_ROLE_COUNT == SIM_MASTER &&
        sim->nodes[number / SIM_ROLE_COUNT].shell.has_appended)
        sync_happens(sim, number);
}

/* The process whose wake-up comes first; UINT32_MAX: none before `limit_ms`. */
static uint32_t first_wake(struct sim *sim, uint64_t limit_ms, uint64_t *at_out)
{
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < sim->node_count * SIM_ROLE_COUNT; i++) {
        const struct sim_process *process = process_at(sim, i);
        if (!process->actor)
            continue;
        uint64_t at_ms = process->outbox.wake_ms;
        if (at_ms < process->frozen_until_ms)
            at_ms = process->frozen_until_ms;
        if (at_ms < sim->now_ms)
            at_ms = sim->now_ms;
        if (at_ms < limit_ms) {
            limit_ms = at_ms;
            first = i;
        }
    }
    *at_out = limit_ms;
    return first;
}

void sim_run(struct sim *sim, uint64_t ms)
{
    const uint64_t end_ms = sim->now_ms + ms;
    uint64_t same_ms = 0;
    uint64_t turns = 0;
    uint32_t last = UINT32_MAX;
    while (!sim->broken[0]) {
        turns = same_ms == sim->now_ms ? turns + 1 : 0;
        same_ms = sim->now_ms;
        if (turns > 100000)
            sim_break(sim, "the cluster turns without end: wake-ups of %u", last);
        uint64_t wake_ms = 0;
        uint64_t next_ms = sim->event_count ? sim->events[0].at_ms : UINT64_MAX;
        uint64_t limit_ms = next_ms < end_ms ? next_ms : end_ms;
        uint32_t waking = first_wake(sim, limit_ms, &wake_ms);
        if (waking != UINT32_MAX) {
            sim->now_ms = wake_ms;
            last = waking;
            wake_happens(sim, waking);
            continue;
        }
        if (next_ms >= end_ms)
            break;
        struct sim_event event = event_pop(sim);
        sim->now_ms = event.at_ms > sim->now_ms ? event.at_ms : sim->now_ms;
        happen(sim, &event);
        event_fini(&event);
    }
    sim->now_ms = end_ms;
}

void sim_free(struct sim *sim)
{
    for (uint32_t node = 0; node < sim->node_count; node++) {
        sim_kill_node(sim, node, false);
        memory_disk_free(sim->nodes[node].disk);
        record_fini(&node_record_type, &sim->nodes[node].settings.self);
        for (uint32_t role = 1; role < SIM_ROLE_COUNT; role++)
            if (role != SIM_PLANNER)
                memory_free((void *)(uintptr_t)sim->nodes[node].processes[role].settings);
    }
    for (size_t i = 0; i < sim->event_count; i++)
        event_fini(&sim->events[i]);
    memory_free(sim->events);
    memory_free(sim);
}
