/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/state.h"

#include "protocol/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void state_init(struct state *state)
{
    memset(state, 0, sizeof(*state));
}

void state_fini(struct state *state)
{
    record_fini(&state_type, state);
}

#define STATE_SIZE_MAX (256u << 20)

enum status state_encode(const struct state *state, struct buffer *bytes)
{
    return record_encode(&state_type, state, bytes);
}

enum status state_decode(const void *bytes, size_t size, struct state *state_out,
                         struct reason *reason)
{
    return record_decode(&state_type, bytes, size, state_out, reason);
}

enum status state_hash(const struct state *state, struct hash *hash_out)
{
    struct buffer bytes;
    buffer_init(&bytes, STATE_SIZE_MAX);
    enum status status = state_encode(state, &bytes);
    if (status == STATUS_OK)
        hash_of(bytes.bytes, bytes.size, hash_out);
    buffer_fini(&bytes);
    return status;
}

struct node_record *state_find_node(const struct state *state, const struct node_id *id)
{
    for (uint32_t i = 0; i < state->nodes.count; i++)
        if (ID_EQUAL(state->nodes.items[i].node_id, *id))
            return &state->nodes.items[i];
    return NULL;
}

const char *state_node_name(const struct state *state, const struct node_id *id)
{
    const struct node_record *node = state_find_node(state, id);
    return node ? text_or_empty(node->name) : "a removed node";
}

bool state_host_next(const char **hosts, char *host_out, size_t size)
{
    const char *at = *hosts;
    size_t length = 0;
    do {
        at += length;
        at += strspn(at, " ");
        length = strcspn(at, " ");
    } while (length >= size);
    memcpy(host_out, at, length);
    host_out[length] = '\0';
    *hosts = at + length;
    return length > 0;
}

static bool is_host_of(const char *hosts, const char *host, size_t length)
{
    char one[ADDRESS_SIZE_MAX];
    while (state_host_next(&hosts, one, sizeof(one)))
        if (strlen(one) == length && strncmp(one, host, length) == 0)
            return true;
    return false;
}

void state_endpoint_address(const struct state *state, const struct endpoint_record *endpoint,
                            char address_out[ADDRESS_SIZE_MAX])
{
    static const char scheme[] = "tcp://";
    const char *address = text_or_empty(endpoint->address);
    const struct node_record *node = state_find_node(state, &endpoint->node_id);
    const char *port = strrchr(address, ':');
    const char *host = address + strlen(scheme);
    if (node && port && strncmp(address, scheme, strlen(scheme)) == 0 && port > host &&
        text_or_empty(node->fabric)[0] &&
        is_host_of(text_or_empty(node->hosts), host, (size_t)(port - host)))
        (void)snprintf(address_out, ADDRESS_SIZE_MAX, "%s%.200s%.8s", scheme, node->fabric, port);
    else
        (void)snprintf(address_out, ADDRESS_SIZE_MAX, "%s", address);
}

struct node_record *state_find_node_by_key(const struct state *state,
                                           const struct public_key *key)
{
    for (uint32_t i = 0; i < state->nodes.count; i++)
        if (ID_EQUAL(state->nodes.items[i].key, *key))
            return &state->nodes.items[i];
    return NULL;
}

const char *state_nodes_list(const struct state *state, char text_out[NODES_LISTED_SIZE])
{
    size_t used = 0;
    text_out[0] = '\0';
    for (uint32_t i = 0; i < state->nodes.count; i++) {
        const char *name = text_or_empty(state->nodes.items[i].name);
        const size_t room = NODES_LISTED_SIZE - used;
        if (strlen(name) + sizeof(", and 64 more") > room) {
            (void)snprintf(text_out + used, room, " and %u more", state->nodes.count - i);
            break;
        }
        used += (size_t)snprintf(text_out + used, room, "%s%s", i ? ", " : "", name);
    }
    return text_out;
}

struct node_record *state_find_node_named(const struct state *state, const char *name)
{
    struct node_record *found = NULL;
    size_t length = strlen(name);
    for (uint32_t i = 0; i < state->nodes.count; i++)
        if (strcmp(text_or_empty(state->nodes.items[i].name), name) == 0)
            return &state->nodes.items[i];
    if (length < 4)
        return NULL;
    for (uint32_t i = 0; i < state->nodes.count; i++) {
        char hex[HEX_SIZE(sizeof(struct node_id))];
        hex_print(&state->nodes.items[i].node_id, sizeof(struct node_id), hex);
        if (strncmp(hex, name, length) != 0)
            continue;
        if (found)
            return NULL;
        found = &state->nodes.items[i];
    }
    return found;
}

struct token_record *state_find_token(const struct state *state, const struct public_key *key)
{
    for (uint32_t i = 0; i < state->tokens.count; i++)
        if (ID_EQUAL(state->tokens.items[i].key, *key))
            return &state->tokens.items[i];
    return NULL;
}

struct client_record *state_find_client(const struct state *state, const struct public_key *key)
{
    for (uint32_t i = 0; i < state->clients.count; i++)
        if (ID_EQUAL(state->clients.items[i].key, *key))
            return &state->clients.items[i];
    return NULL;
}

struct model_record *state_find_model(const struct state *state, const char *model_id)
{
    for (uint32_t i = 0; i < state->models.count; i++)
        if (strcmp(text_or_empty(state->models.items[i].model_id), model_id) == 0)
            return &state->models.items[i];
    return NULL;
}

struct holder_record *model_find_holder(const struct model_record *model,
                                        const struct node_id *id)
{
    for (uint32_t i = 0; i < model->holders.count; i++)
        if (ID_EQUAL(model->holders.items[i].node_id, *id))
            return &model->holders.items[i];
    return NULL;
}

struct instance_record *state_find_instance(const struct state *state,
                                            const struct instance_id *id)
{
    for (uint32_t i = 0; i < state->instances.count; i++)
        if (ID_EQUAL(state->instances.items[i].instance_id, *id))
            return &state->instances.items[i];
    return NULL;
}

struct import_record *state_find_import(const struct state *state, const struct node_id *node,
                                        const char *model_id)
{
    for (uint32_t i = 0; i < state->imports.count; i++) {
        struct import_record *import = &state->imports.items[i];
        if (ID_EQUAL(import->node_id, *node) &&
            strcmp(text_or_empty(import->model_id), model_id) == 0)
            return import;
    }
    return NULL;
}

struct removed_record *state_find_removed(const struct state *state, const char *model_id,
                                          const struct hash *revision)
{
    for (uint32_t i = 0; i < state->removed.count; i++)
        if (ID_EQUAL(state->removed.items[i].revision, *revision) &&
            strcmp(text_or_empty(state->removed.items[i].model_id), model_id) == 0)
            return &state->removed.items[i];
    return NULL;
}

struct endpoint_record *state_find_endpoint(const struct state *state,
                                            const struct node_id *node, enum actor_kind actor)
{
    for (uint32_t i = 0; i < state->endpoints.count; i++) {
        struct endpoint_record *endpoint = &state->endpoints.items[i];
        if (ID_EQUAL(endpoint->node_id, *node) && endpoint->actor == (uint32_t)actor)
            return endpoint;
    }
    return NULL;
}

struct incarnation_record *state_find_incarnation(const struct state *state,
                                                  const struct node_id *node, uint32_t actor,
                                                  uint64_t incarnation)
{
    for (uint32_t i = 0; i < state->incarnations.count; i++) {
        struct incarnation_record *record = &state->incarnations.items[i];
        if (ID_EQUAL(record->node_id, *node) && record->actor == actor &&
            record->incarnation == incarnation)
            return record;
    }
    return NULL;
}

uint64_t state_find_command(const struct state *state, const struct command_key *key)
{
    for (uint32_t i = state->commands.count; i-- > 0;)
        if (ID_EQUAL(state->commands.items[i].key, *key))
            return state->commands.items[i].index;
    return 0;
}

bool generation_equal(const struct generation *a, const struct generation *b)
{
    return record_equal(&generation_type, a, b);
}

bool generation_is_zero(const struct generation *generation)
{
    return generation->epoch == 0 && generation->counter == 0;
}

const char *generation_print(const struct generation *generation, char *text_out)
{
    char hex[HEX_SIZE(2)];
    hex_print(&generation->leader, 2, hex);
    (void)snprintf(text_out, 48, "%" PRIu64 ".%s.%" PRIu64, generation->epoch, hex,
                   generation->counter);
    return text_out;
}

int epoch_compare(const struct epoch *a, const struct epoch *b)
{
    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    int order = memcmp(&a->leader, &b->leader, sizeof(a->leader));
    return order < 0 ? -1 : order > 0 ? 1 : 0;
}

uint32_t ranks_computing(const struct rank_record *ranks, uint32_t count)
{
    while (count > 0 && ranks[count - 1].is_source)
        count--;
    return count;
}

uint32_t instance_computing(const struct instance_record *instance)
{
    return ranks_computing(instance->ranks.items, instance->ranks.count);
}

static const char *name_at(const char *const *names, size_t count, uint32_t index)
{
    return index < count ? names[index] : "unknown";
}

const char *mode_name(uint32_t mode)
{
    static const char *const names[] = {"none", "exact", "fast"};
    return name_at(names, COUNT_OF(names), mode);
}

const char *rank_status_name(uint32_t status)
{
    static const char *const names[] = {"placed", "addressed", "joined", "loading",
                                        "loaded", "ready",     "failed", "released"};
    return name_at(names, COUNT_OF(names), status);
}

const char *instance_status_name(uint32_t status)
{
    static const char *const names[] = {"starting", "ready", "waiting", "failed", "copying",
                                        "downloading"};
    return name_at(names, COUNT_OF(names), status);
}

const char *client_role_name(uint32_t role)
{
    static const char *const names[] = {"none", "read", "operate", "admin"};
    return name_at(names, COUNT_OF(names), role);
}

uint64_t generation_backoff_ms(uint32_t failures)
{
    uint64_t wait_ms = 200;
    for (uint32_t i = 1; i < failures && wait_ms < 30000; i++)
        wait_ms *= 2;
    return wait_ms < 30000 ? wait_ms : 30000;
}

static uint64_t elapsed_ms(uint64_t from_ms, uint64_t to_ms)
{
    return to_ms > from_ms ? to_ms - from_ms : 0;
}

bool generation_failure_is_first(const struct instance_record *instance, uint64_t time_ms)
{
    const bool has_served = instance->status == INSTANCE_READY &&
                            elapsed_ms(instance->ready_ms, time_ms) >= GENERATION_SERVED_MS;
    return has_served || elapsed_ms(instance->window_ms, time_ms) > GENERATION_FAILURE_WINDOW_MS;
}
