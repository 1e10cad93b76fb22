/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands: an imperative becomes an event, or is refused with a sentence.
 */
#include "actors/master/master.h"

#include "actors/master/copy_rules.h"
#include "actors/master/download_rules.h"
#include "actors/master/hub_rules.h"
#include "actors/master/model_names.h"
#include "actors/master/placement.h"
#include "actors/master/transfer_rules.h"
#include "protocol/hash.h"

#include <stdio.h>
#include <string.h>

struct command {
    struct master *master;
    const struct message *message;
    const struct peer *peer; /* NULL when a follower passed it on */
    struct message *event;
    struct reason *reason;
};

/* Writes the event of that row; its body is empty. */
static enum status event_begin(struct command *command, enum event_code code)
{
    return message_init(command->event, MESSAGE_EVENT, code);
}

static enum status out_of_memory(bool ok)
{
    return ok ? STATUS_OK : STATUS_NO_MEMORY;
}

/* A name that may become part of a path: letters, digits, and . _ - / without .. or empty parts. */
static bool name_is_plain(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length >= NAME_SIZE_MAX || name[0] == '/' || name[0] == '.' ||
        name[length - 1] == '/' || strstr(name, "..") || strstr(name, "//") || strstr(name, "/."))
        return false;
    for (size_t i = 0; i < length; i++) {
        const char c = name[i];
        const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && !strchr("._-/", c))
            return false;
    }
    return true;
}

/* ---- instances ---- */

/* None of its addresses is in a network where MPI may travel. */
static bool is_exposed(const struct master *master, const struct node_record *node)
{
    const struct networks *trusted = &master->settings->trusted;
    const char *hosts = text_or_empty(node->hosts);
    char host[INTERFACE_ADDRESS_SIZE + 2];
    bool is_trusted = networks_contain(trusted, text_or_empty(node->fabric));
    while (!is_trusted && state_host_next(&hosts, host, sizeof(host)))
        is_trusted = networks_contain(trusted, host);
    return !is_trusted;
}

/* The nodes with what is free on them, reservations of present instances taken off. */
static uint32_t survey_nodes(struct master *master, const struct instance_id *replaced,
                             struct placement_node nodes[NODE_COUNT_MAX])
{
    const struct state *state = &master->state;
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->nodes.count; i++) {
        const struct node_record *node = &state->nodes.items[i];
        uint64_t reserved = 0;
        struct placement_node *place = &nodes[count++];
        *place = (struct placement_node){.node = node, .is_exposed = is_exposed(master, node)};
        for (uint32_t k = 0; k < state->instances.count; k++) {
            const struct instance_record *instance = &state->instances.items[k];
            if (replaced && ID_EQUAL(instance->instance_id, *replaced))
                continue;
            for (uint32_t r = 0; r < instance->ranks.count; r++) {
                const struct rank_record *rank = &instance->ranks.items[r];
                const struct node_record *where = state_find_node(state, &rank->node_id);
                if (where && ID_EQUAL(where->machine_id, node->machine_id) &&
                    rank->status != RANK_RELEASED)
                    reserved += rank->weight_bytes + rank->cache_bytes + rank->scratch_bytes;
            }
        }
        uint64_t unreserved = node->memory_bytes > reserved ? node->memory_bytes - reserved : 0;
        for (uint32_t k = 0; k < master->load_count; k++) {
            const struct load *load = &master->loads[k];
            if (!ID_EQUAL(load->node_id, node->node_id))
                continue;
            place->is_heard = node->in_view;
            place->disk_free = load->load.disk_free;
            place->kernels = load->kernels;
            place->kernel_count = load->kernel_count;
            place->entry_ns = load->load.entry_ns;
            place->near_ns = load->load.near_ns;
            place->near_bytes_per_s = load->load.near_bytes_per_s;
            place->fresh_bytes_per_s = load->load.fresh_bytes_per_s;
            place->wake_ns = load->load.wake_ns;
            place->memory_free =
                load->load.memory_free < unreserved ? load->load.memory_free : unreserved;
        }
    }
    return count;
}

/* What a placement is chosen from. */
struct survey {
    struct placement_node nodes[NODE_COUNT_MAX];
    struct links_listed links;
    struct placement_question question;
};

static enum status survey_begin(struct master *master, const struct place_instance *request,
                                const struct instance_record *replaced, struct survey *survey_out)
{
    const struct instance_id *id = replaced ? &replaced->instance_id : NULL;
    const bool did_rdma_fail = replaced && text_or_empty(replaced->transport)[0];
    survey_out->links = (struct links_listed){.rows = {NULL, 0}};
    survey_out->question = (struct placement_question){
        .state = &master->state,
        .request = request,
        .nodes = survey_out->nodes,
        .node_count = survey_nodes(master, id, survey_out->nodes),
        .replaced = id,
        .settings = &master->settings->placement,
        .links = &survey_out->links,
        .trusted = &master->settings->trusted,
        .may_rdma = master->settings->may_rdma && !did_rdma_fail};
    return links_list(master, &survey_out->links) ? STATUS_OK : STATUS_NO_MEMORY;
}

static void survey_end(struct survey *survey)
{
    record_fini(&links_listed_type, &survey->links);
}

/* Of a model that nobody knows, or has any more: it may be downloaded. */
static bool is_from_hub(const struct placement_question *question)
{
    const char *model_id = text_or_empty(question->request->model_id);
    return question->request->may_download && name_is_plain(model_id) &&
           (!state_find_model(question->state, model_id) ||
            hub_rules_is_lost(question->state, model_id));
}

/* From what the nodes hold, or from what a hub has. */
static enum status choose(const struct placement_question *question,
                          struct instance_record *instance_out, struct reason *reason)
{
    return is_from_hub(question) ? hub_rules_place(question, instance_out, reason)
                                 : placement_choose(question, instance_out, reason);
}

static enum status place_instance(struct command *command)
{
    struct master *master = command->master;
    const struct place_instance *body = command->message->body;
    struct survey survey;
    if (master->state.instances.count >= INSTANCE_COUNT_MAX)
        return refuse(command->reason, STATUS_BUSY, "too many instances; delete one first");
    enum status status = event_begin(command, EVENT_INSTANCE_PLACED);
    if (status != STATUS_OK)
        return status;
    struct instance_record *instance = &MESSAGE_BODY(command->event, instance_placed)->instance;
    status = survey_begin(master, body, NULL, &survey);
    if (status == STATUS_OK)
        status = choose(&survey.question, instance, command->reason);
    survey_end(&survey);
    if (status == STATUS_OK)
        status = record_copy(&place_instance_type, body, &instance->request);
    if (status != STATUS_OK)
        return status;
    /* The id follows from what is unique already: the key of the command, or the place in the log.
     */
    struct hash hash;
    struct hash_stream stream;
    hash_init(&stream);
    hash_update(&stream, &command->message->head.key, sizeof(struct command_key));
    hash_update(&stream, &master->state.cluster_id, sizeof(master->state.cluster_id));
    if (ID_IS_ZERO(command->message->head.key))
        hash_update(&stream, &master->state.index, sizeof(master->state.index));
    hash_final(&stream, &hash);
    memcpy(&instance->instance_id, &hash, sizeof(instance->instance_id));
    instance->generation =
        (struct generation){master->epoch.number, master->epoch.leader, master->state.index + 1};
    if (instance->status == INSTANCE_COPYING)
        instance->transfer_id = copy_rules_transfer(
            &master->state, text_or_empty(body->model_id), &instance->instance_id,
            &instance->ranks.items[0].node_id);
    return out_of_memory(text_set(&instance->model_id, body->model_id));
}

static enum status not_found(struct command *command, const char *what)
{
    return refuse(command->reason, STATUS_NOT_FOUND, "there is no such %s", what);
}

/* A command planned on an older state than the last change of what it names is refused. */
static bool is_stale(const struct command *command, const struct instance_record *instance)
{
    const uint64_t planned = command->message->head.planned_index;
    return planned != 0 && instance->changed_index > planned;
}

static enum status delete_instance(struct command *command)
{
    const struct delete_instance *body = command->message->body;
    const struct instance_record *instance =
        state_find_instance(&command->master->state, &body->instance_id);
    if (!instance)
        return not_found(command, "instance");
    if (is_stale(command, instance))
        return refuse(command->reason, STATUS_STALE, "the instance changed since that was planned");
    enum status status = event_begin(command, EVENT_INSTANCE_DELETED);
    if (status == STATUS_OK)
        MESSAGE_BODY(command->event, instance_deleted)->instance_id = body->instance_id;
    return status;
}

static enum status retry_instance(struct command *command)
{
    const struct retry_instance *body = command->message->body;
    if (!state_find_instance(&command->master->state, &body->instance_id))
        return not_found(command, "instance");
    enum status status = event_begin(command, EVENT_INSTANCE_RETRIED);
    if (status == STATUS_OK)
        MESSAGE_BODY(command->event, instance_retried)->instance_id = body->instance_id;
    return status;
}

static enum status ask_candidates(struct command *command)
{
    (void)command;
    return STATUS_INTERNAL; /* answered by command_candidates */
}

/* Its own master answers who asks; see locals.c. */
static enum status ask_paces(struct command *command)
{
    return refuse(command->reason, STATUS_UNSUPPORTED,
                  "ask_paces is answered by the node that is asked, not by another");
}

/* Its own master answers who asks; see links.c. */
static enum status ask_links(struct command *command)
{
    return refuse(command->reason, STATUS_UNSUPPORTED,
                  "ask_links is answered by the node that is asked, not by another");
}

/* ---- models ---- */

/* Both ways in which a model comes: one at a time to a node. */
static enum status import_begin(struct command *command, const struct node_id *node_id,
                                const char *name, struct import_record **import_out)
{
    if (!state_find_node(&command->master->state, node_id))
        return not_found(command, "node");
    if (state_find_import(&command->master->state, node_id, name))
        return refuse(command->reason, STATUS_BUSY, "%.100s is being taken in already", name);
    enum status status = model_name_check(&command->master->state, name, command->reason);
    if (status != STATUS_OK)
        return status;
    status = event_begin(command, EVENT_MODEL_IMPORT_REQUESTED);
    if (status != STATUS_OK)
        return status;
    struct import_record *import = &MESSAGE_BODY(command->event, model_import_requested)->import;
    import->node_id = *node_id;
    *import_out = import;
    return out_of_memory(text_set(&import->model_id, name));
}

static enum status add_model(struct command *command)
{
    const struct add_model *body = command->message->body;
    const char *name = text_or_empty(body->model_id);
    const char *path = text_or_empty(body->path);
    if (!name_is_plain(name))
        return refuse(command->reason, STATUS_INVALID,
                      "%.60s is no name for a model; use letters, digits, . _ - and /", name);
    if (path[0] != '/')
        return refuse(command->reason, STATUS_INVALID, "%.200s is not an absolute path", path);
    struct import_record *import = NULL;
    enum status status = import_begin(command, &body->node_id, name, &import);
    return status == STATUS_OK ? out_of_memory(text_set(&import->path, path)) : status;
}

static enum status pull_model(struct command *command)
{
    const struct pull_model *body = command->message->body;
    const char *name = text_or_empty(body->model_id);
    if (!name_is_plain(name))
        return refuse(command->reason, STATUS_INVALID,
                      "%.60s is no name of a repository; give ORG/NAME", name);
    const enum status status =
        model_name_check(&command->master->state, name, command->reason);
    if (status != STATUS_OK)
        return status;
    return download_rules_pull(&command->master->state, command->message, command->event,
                               command->reason);
}

static bool is_on_its_way(const struct state *state, const char *model_id)
{
    for (uint32_t i = 0; i < state->imports.count; i++)
        if (strcmp(text_or_empty(state->imports.items[i].model_id), model_id) == 0)
            return true;
    return false;
}

static enum status pin_model(struct command *command)
{
    const struct pin_model *body = command->message->body;
    const char *name = text_or_empty(body->model_id);
    const struct model_record *model = state_find_model(&command->master->state, name);
    if (!model)
        return not_found(command, "model");
    if (model->is_pinned == body->is_pinned)
        return STATUS_OK;
    enum status status = event_begin(command, EVENT_MODEL_PINNED);
    if (status != STATUS_OK)
        return status;
    struct model_pinned *event = command->event->body;
    event->is_pinned = body->is_pinned;
    return out_of_memory(text_set(&event->model_id, name));
}

static enum status remove_model(struct command *command)
{
    const struct remove_model *body = command->message->body;
    const struct state *state = &command->master->state;
    const char *name = text_or_empty(body->model_id);
    const struct model_record *model = state_find_model(state, name);
    if (!model && !is_on_its_way(state, name))
        return not_found(command, "model");
    if (model && model->is_pinned)
        return refuse(command->reason, STATUS_BUSY, "%.100s is pinned; troupe unpin lets it go",
                      name);
    for (uint32_t i = 0; i < state->instances.count; i++)
        if (strcmp(text_or_empty(state->instances.items[i].model_id), name) == 0)
            return refuse(command->reason, STATUS_BUSY,
                          "an instance of %.100s exists; delete it first", name);
    enum status status = event_begin(command, EVENT_MODEL_REMOVED);
    if (status != STATUS_OK)
        return status;
    return out_of_memory(text_set(&MESSAGE_BODY(command->event, model_removed)->model_id, name));
}

static enum status distribute_model(struct command *command)
{
    return transfer_rules_distribute(&command->master->state, command->message, command->event,
                                     command->reason);
}

static enum status cancel_transfer(struct command *command)
{
    return transfer_rules_cancel(&command->master->state, command->message, command->event,
                                 command->reason);
}

/* ---- trust ---- */

static enum status create_token(struct command *command)
{
    const struct create_token *body = command->message->body;
    const struct state *state = &command->master->state;
    uint32_t alive = 0;
    for (uint32_t i = 0; i < state->tokens.count; i++)
        alive += ID_IS_ZERO(state->tokens.items[i].spent_by) &&
                 state->tokens.items[i].expires_ms > command->master->input->wall_ms;
    if (ID_IS_ZERO(body->key) || body->expires_ms <= command->master->input->wall_ms)
        return refuse(command->reason, STATUS_INVALID, "a token needs a key and a future expiry");
    if (alive >= TOKEN_COUNT_MAX || state_find_node_by_key(state, &body->key))
        return refuse(command->reason, STATUS_BUSY,
                      "too many tokens are unused; revoke one or wait until they expire");
    enum status status = event_begin(command, EVENT_TOKEN_CREATED);
    if (status != STATUS_OK)
        return status;
    struct token_record *token = &MESSAGE_BODY(command->event, token_created)->token;
    token->key = body->key;
    token->expires_ms = body->expires_ms;
    return out_of_memory(text_set(&token->label, body->label));
}

static enum status revoke_token(struct command *command)
{
    const struct revoke_token *body = command->message->body;
    if (!state_find_token(&command->master->state, &body->key))
        return not_found(command, "token");
    enum status status = event_begin(command, EVENT_TOKEN_REVOKED);
    if (status == STATUS_OK)
        MESSAGE_BODY(command->event, token_revoked)->key = body->key;
    return status;
}

/* What the joining node signs: cluster, token, node id, CURVE key (identity_sign "join"). */
static bool signature_holds(const struct command *command, const struct join *body)
{
    uint8_t statement[16 + 32 + 16 + 32];
    memcpy(statement, &command->master->state.cluster_id, 16);
    memcpy(statement + 16, &body->token_key, 32);
    memcpy(statement + 48, &body->node_id, 16);
    memcpy(statement + 64, &body->key, 32);
    const struct node_id expected = identity_node_id(&body->key, &body->sign_key);
    return ID_EQUAL(expected, body->node_id) &&
           identity_verify(&body->sign_key, "join", statement, sizeof(statement), &body->signature);
}

static enum status join_check(struct command *command, const struct join *body)
{
    const struct state *state = &command->master->state;
    const struct token_record *token = state_find_token(state, &body->token_key);
    if (command->peer && !ID_EQUAL(command->peer->key, body->token_key))
        return refuse(command->reason, STATUS_NOT_ADMITTED,
                      "the token is not the connection's key");
    if (!token)
        return refuse(command->reason, STATUS_NOT_ADMITTED, "nobody here knows this token");
    if (!ID_IS_ZERO(token->spent_by))
        return refuse(command->reason, STATUS_SPENT, "this token was used by another node");
    if (token->expires_ms <= command->master->input->wall_ms)
        return refuse(command->reason, STATUS_EXPIRED, "this token has expired");
    if (!signature_holds(command, body))
        return refuse(command->reason, STATUS_NOT_ADMITTED, "the signature does not hold");
    if (state->nodes.count >= NODE_COUNT_MAX)
        return refuse(command->reason, STATUS_BUSY, "the cluster is full");
    return STATUS_OK;
}

static enum status join(struct command *command)
{
    const struct join *body = command->message->body;
    const struct state *state = &command->master->state;
    const struct token_record *token = state_find_token(state, &body->token_key);
    if (token && ID_EQUAL(token->spent_by, body->node_id) &&
        state_find_node(state, &body->node_id)) {
        /* The same join again gets the first answer. */
        command->event->head.index = state->index;
        return STATUS_OK;
    }
    enum status status = join_check(command, body);
    if (status == STATUS_OK)
        status = event_begin(command, EVENT_NODE_ADMITTED);
    if (status != STATUS_OK)
        return status;
    struct node_admitted *event = command->event->body;
    event->token_key = body->token_key;
    event->node.node_id = body->node_id;
    event->node.key = body->key;
    event->node.sign_key = body->sign_key;
    return out_of_memory(text_set(&event->node.name, body->name) &&
                         text_set(&event->node.address, body->address));
}

static enum status remove_node(struct command *command)
{
    const struct remove_node *body = command->message->body;
    if (!state_find_node(&command->master->state, &body->node_id))
        return not_found(command, "node");
    if (ID_EQUAL(body->node_id, command->master->settings->node_id))
        return refuse(command->reason, STATUS_REFUSED,
                      "the leader cannot remove itself; stop it and ask another node");
    enum status status = event_begin(command, EVENT_NODE_REMOVED);
    if (status == STATUS_OK)
        MESSAGE_BODY(command->event, node_removed)->node_id = body->node_id;
    return status;
}

static enum status admit_client(struct command *command)
{
    const struct admit_client *body = command->message->body;
    const struct state *state = &command->master->state;
    if (ID_IS_ZERO(body->key) || body->role == ROLE_NONE || !body->name)
        return refuse(command->reason, STATUS_INVALID, "a client needs a key, a name and a role");
    if (!name_is_plain(body->name) || strchr(body->name, '/'))
        return refuse(command->reason, STATUS_INVALID,
                      "%.60s is no name for a client; use letters, digits, . _ and -", body->name);
    if (state->clients.count >= CLIENT_COUNT_MAX && !state_find_client(state, &body->key))
        return refuse(command->reason, STATUS_BUSY, "too many clients; remove one first");
    enum status status = event_begin(command, EVENT_CLIENT_ADMITTED);
    if (status != STATUS_OK)
        return status;
    struct client_record *client = &MESSAGE_BODY(command->event, client_admitted)->client;
    client->key = body->key;
    client->role = body->role;
    return out_of_memory(text_set(&client->name, body->name));
}

static enum status remove_client(struct command *command)
{
    const struct remove_client *body = command->message->body;
    if (!state_find_client(&command->master->state, &body->key))
        return not_found(command, "client");
    enum status status = event_begin(command, EVENT_CLIENT_REMOVED);
    if (status == STATUS_OK)
        MESSAGE_BODY(command->event, client_removed)->key = body->key;
    return status;
}

/* ---- the table ---- */

#define DECIDE_ROW(code, NAME, record, sentence) [code] = record,
static enum status (*const rules[])(struct command *command) = {COMMAND_LIST(DECIDE_ROW)};

enum status command_decide(struct master *master, const struct message *message,
                           const struct peer *peer, struct message *event_out, bool *has_event_out,
                           struct reason *reason)
{
    *has_event_out = false;
    if (!ID_IS_ZERO(message->head.key)) {
        uint64_t index = state_find_command(&master->state, &message->head.key);
        if (index != 0) {
            event_out->head.index = index;
            return STATUS_OK;
        }
    }
    if (message->head.code >= COUNT_OF(rules) || !rules[message->head.code])
        return refuse(reason, STATUS_UNSUPPORTED, "nobody knows this command");
    struct command command = {master, message, peer, event_out, reason};
    enum status status = rules[message->head.code](&command);
    if (status != STATUS_OK) {
        message_fini(event_out);
        return status;
    }
    *has_event_out = event_out->body != NULL;
    return STATUS_OK;
}

/* Of a model that comes from a hub nothing is known yet but where it will come to. */
static enum status list_download(const struct placement_question *question,
                                 struct candidates_listed *listed, struct reason *reason)
{
    struct instance_record placed = {.model_id = NULL};
    enum status status = hub_rules_place(question, &placed, reason);
    struct candidate *candidate =
        status == STATUS_OK ? record_list_push(&candidate_type, RECORD_LIST(listed->candidates),
                                               NULL, CANDIDATE_COUNT_MAX)
                            : NULL;
    if (status == STATUS_OK && !candidate)
        status = STATUS_NO_MEMORY;
    if (status == STATUS_OK) {
        candidate->is_possible = true;
        candidate->mode = placed.mode;
        status = out_of_memory(
            text_set(&listed->model_id, question->request->model_id) &&
            text_set(&candidate->why, placed.why) &&
            record_list_push(&rank_record_type, RECORD_LIST(candidate->ranks),
                             &placed.ranks.items[0], RANK_COUNT_MAX));
    }
    record_fini(&instance_record_type, &placed);
    return status;
}

enum status command_candidates(struct master *master, const struct message *message,
                               struct message *answer_out)
{
    const struct ask_candidates *body = MESSAGE_BODY(message, ask_candidates);
    struct survey survey;
    if (!message_begin(master, answer_out, MESSAGE_ANSWER, ANSWER_CANDIDATES))
        return STATUS_NO_MEMORY;
    struct reason reason = {""};
    struct candidates_listed *listed = answer_out->body;
    enum status status = survey_begin(master, &body->request, NULL, &survey);
    if (status == STATUS_OK)
        status = is_from_hub(&survey.question)
                     ? list_download(&survey.question, listed, &reason)
                     : placement_candidates(&survey.question, listed, &reason);
    survey_end(&survey);
    if (status == STATUS_OK)
        return STATUS_OK;
    answer_out->head.status = status;
    if (status != STATUS_NO_MEMORY && text_set(&answer_out->head.reason, reason.text))
        return STATUS_OK;
    message_fini(answer_out);
    return STATUS_NO_MEMORY;
}

/* Why it does not use the fast way stands beside why it was placed so. */
static enum status add_transport(const struct instance_record *instance,
                                 struct instance_record *placed)
{
    char text[SENTENCE_SIZE_MAX];
    const char *transport = text_or_empty(instance->transport);
    if (!*transport || placed->ranks.count < 2)
        return STATUS_OK;
    const int length = (int)strnlen(transport, 240);
    (void)snprintf(text, sizeof(text), "%.*s; MPI over %.*s",
                   (int)sizeof(text) - length - (int)sizeof("; MPI over "),
                   text_or_empty(placed->why), length, transport);
    return text_set(&placed->why, text) ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status generation_place(struct master *master, const struct instance_record *instance,
                             struct message *event_out, struct reason *reason)
{
    struct survey survey;
    struct instance_record placed = {.model_id = NULL};
    enum status status =
        survey_begin(master, &instance->request, instance, &survey);
    if (status == STATUS_OK)
        status = choose(&survey.question, &placed, reason);
    survey_end(&survey);
    if (status == STATUS_OK)
        status = add_transport(instance, &placed);
    if (status == STATUS_OK &&
        !message_begin(master, event_out, MESSAGE_EVENT, EVENT_GENERATION_STARTED))
        status = STATUS_NO_MEMORY;
    if (status == STATUS_OK) {
        struct generation_started *body = event_out->body;
        body->instance_id = instance->instance_id;
        body->generation = (struct generation){master->epoch.number, master->epoch.leader,
                                               master->state.index + 1};
        body->sharding = placed.sharding;
        body->context = placed.context;
        body->positions = placed.positions;
        body->requests = placed.requests;
        body->reserve = placed.reserve;
        body->kv_format = placed.kv_format;
        body->is_asymmetric = placed.is_asymmetric;
        body->is_upgraded = placed.is_upgraded;
        body->tokens_per_s = placed.tokens_per_s;
        body->first_token_s = placed.first_token_s;
        body->load_s = placed.load_s;
        memcpy(&body->ranks, &placed.ranks, sizeof(body->ranks));
        memcpy(&body->sources, &placed.sources, sizeof(body->sources));
        body->why = placed.why;
        body->is_downloading = placed.status == INSTANCE_DOWNLOADING;
        body->revision = placed.revision;
        if (placed.status == INSTANCE_COPYING)
            body->transfer_id = copy_rules_transfer(
                &master->state, text_or_empty(instance->model_id), &instance->instance_id,
                &body->ranks.items[0].node_id);
        memset(&placed.ranks, 0, sizeof(placed.ranks));
        memset(&placed.sources, 0, sizeof(placed.sources));
        placed.why = NULL;
    }
    record_fini(&instance_record_type, &placed);
    return status;
}
