/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_holders: the connections to nodes that hold models, and what is known of the models.
 */
#include "actors/gateway/hub_request.h"
#include "actors/gateway/relay.h"
#include "runtime/chunk_manifest.h"

#include <stdio.h>
#include <string.h>

/* Its transferer, when it is another node's that is here and has the file. */
static const struct endpoint_record *endpoint_of(const struct gateway *gateway,
                                                 const struct model_record *model,
                                                 const struct holder_record *holder,
                                                 const struct file_entry *file)
{
    const struct state *state = gateway_state(gateway);
    const struct node_record *node = state_find_node(state, &holder->node_id);
    const struct endpoint_record *endpoint =
        state_find_endpoint(state, &holder->node_id, ACTOR_TRANSFERER);
    return node && node->in_view && hub_holder_has(model, holder, file) && endpoint &&
                   text_or_empty(endpoint->address)[0] &&
                   strlen(endpoint->address) < LINK_ENDPOINT_SIZE &&
                   !ID_EQUAL(holder->node_id, gateway->session.mirror.node_id)
               ? endpoint
               : NULL;
}

bool relay_is_possible(const struct gateway *gateway, const struct model_record *model,
                       const struct file_entry *file)
{
    for (uint32_t i = 0; i < model->holders.count && !ID_IS_ZERO(model->manifest); i++)
        if (endpoint_of(gateway, model, &model->holders.items[i], file))
            return true;
    return false;
}

const struct model_record *relay_model(const struct gateway *gateway, const struct relay *relay)
{
    const struct model_record *model =
        state_find_model(gateway_state(gateway), relay->wish->model_id);
    return model && ID_EQUAL(model->revision, relay->wish->revision) ? model : NULL;
}

static bool is_among(const struct node_id *ids, uint32_t count, const struct node_id *id)
{
    for (uint32_t i = 0; i < count; i++)
        if (ID_EQUAL(ids[i], *id))
            return true;
    return false;
}

static bool is_lost(const struct relay_desk *desk, const struct endpoint_record *endpoint)
{
    for (size_t i = 0; i < RELAY_HOLDERS_MAX; i++)
        if (desk->holders[i].is_lost && ID_EQUAL(desk->holders[i].node_id, endpoint->node_id) &&
            desk->holders[i].incarnation == endpoint->incarnation)
            return true;
    return false;
}

const struct endpoint_record *relay_find_holder(const struct gateway *gateway,
                                                const struct relay *relay)
{
    const struct model_record *model = relay_model(gateway, relay);
    const struct file_entry *file = NULL;
    for (uint32_t i = 0; model && i < model->files.count; i++)
        if (strcmp(text_or_empty(model->files.items[i].name), relay->wish->name) == 0)
            file = &model->files.items[i];
    /* Another one for each request, so that they share the work; those last whose connection broke
     * and is not back. */
    const struct endpoint_record *lost = NULL;
    for (uint32_t i = 0; file && i < model->holders.count; i++) {
        const struct holder_record *holder =
            &model->holders.items[(i + relay->wish->exchange) % model->holders.count];
        const struct endpoint_record *endpoint = endpoint_of(gateway, model, holder, file);
        if (!endpoint || is_among(relay->tried, relay->tried_count, &holder->node_id) ||
            is_among(relay->wrong, relay->wrong_count, &holder->node_id))
            continue;
        if (!is_lost(gateway->relays, endpoint))
            return endpoint;
        lost = lost ? lost : endpoint;
    }
    return lost;
}

/* ---- connections ---- */

static bool is_wanted(const struct relay_desk *desk, uint32_t slot)
{
    for (const struct relay *relay = desk->first; relay; relay = relay->next)
        if (relay->slot == slot && relay_is_asking(relay))
            return true;
    return false;
}

static void close_holder(struct gateway *gateway, uint32_t slot)
{
    outbox_link_close(gateway->outbox, GATEWAY_LINK_HOLDER + slot);
    gateway->relays->holders[slot] = (struct relay_holder){0};
}

/* An unused place, else one of a connection that nobody needs now, which is closed; -1: none. */
static int find_place(struct gateway *gateway)
{
    struct relay_desk *desk = gateway->relays;
    for (int i = 0; i < RELAY_HOLDERS_MAX; i++)
        if (!desk->holders[i].is_used)
            return i;
    for (int i = 0; i < RELAY_HOLDERS_MAX; i++) {
        if (is_wanted(desk, (uint32_t)i))
            continue;
        close_holder(gateway, (uint32_t)i);
        return i;
    }
    return -1;
}

int relay_connect(struct gateway *gateway, const struct endpoint_record *endpoint)
{
    struct relay_desk *desk = gateway->relays;
    for (int i = 0; i < RELAY_HOLDERS_MAX; i++)
        if (desk->holders[i].is_used && ID_EQUAL(desk->holders[i].node_id, endpoint->node_id) &&
            desk->holders[i].incarnation == endpoint->incarnation)
            return i;
    const int place = find_place(gateway);
    if (place < 0)
        return -1;
    struct link_options options = {.role = LINK_CONNECT, .server_key = endpoint->key,
                                   .message_size_max = MESSAGE_SIZE_MAX};
    char address[ADDRESS_SIZE_MAX];
    session_endpoint_address(&gateway->session, endpoint, address);
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%.127s", address);
    desk->holders[place] = (struct relay_holder){.is_used = true,
                                                     .node_id = endpoint->node_id,
                                                     .incarnation = endpoint->incarnation,
                                                     .used_ms = gateway->input->now_ms};
    outbox_link_open(gateway->outbox, GATEWAY_LINK_HOLDER + (uint32_t)place, &options);
    return place;
}

void relay_holders_tick(struct gateway *gateway)
{
    const uint64_t now_ms = gateway->input->now_ms;
    for (uint32_t i = 0; i < RELAY_HOLDERS_MAX; i++) {
        struct relay_holder *holder = &gateway->relays->holders[i];
        if (is_wanted(gateway->relays, i))
            holder->used_ms = now_ms;
        else if (holder->is_used && now_ms >= holder->used_ms + RELAY_IDLE_MS)
            close_holder(gateway, i);
    }
}

/* ---- manifests ---- */

const struct chunk_manifest *relay_manifest_find(struct gateway *gateway,
                                                 const struct model_record *model)
{
    for (size_t i = 0; i < RELAY_MANIFESTS_MAX; i++) {
        struct relay_manifest *known = &gateway->relays->manifests[i];
        if (!known->is_known || !ID_EQUAL(known->digest, model->manifest))
            continue;
        known->used_ms = gateway->input->now_ms;
        return &known->manifest;
    }
    return NULL;
}

const struct chunk_manifest *relay_manifest_keep(struct gateway *gateway,
                                                 const struct model_record *model,
                                                 struct chunk_manifest *manifest)
{
    struct relay_manifest *oldest = &gateway->relays->manifests[0];
    for (size_t i = 1; i < RELAY_MANIFESTS_MAX; i++) {
        struct relay_manifest *known = &gateway->relays->manifests[i];
        if (oldest->is_known && (!known->is_known || known->used_ms < oldest->used_ms))
            oldest = known;
    }
    if (oldest->is_known)
        record_fini(&chunk_manifest_type, &oldest->manifest);
    *oldest = (struct relay_manifest){.is_known = true, .digest = model->manifest,
                                      .manifest = *manifest,
                                      .used_ms = gateway->input->now_ms};
    return &oldest->manifest;
}
