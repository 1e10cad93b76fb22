/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/actors.h"
#include "actors/master/shell.h"

#include "protocol/memory.h"
#include "runtime/log.h"
#include "runtime/machine.h"
#include "runtime/process.h"
#include "runtime/kernel_rates.h"
#include "runtime/thunderbolt.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What main owns for the life of the process. */
struct master_main {
    struct process process;
    struct identity identity;
    struct master_settings settings;
    struct master_shell shell;
    struct state state;
    struct join_token token;
};

static enum status shell_open(void *self, struct loop *loop, struct reason *reason)
{
    (void)reason;
    struct master_main *main = self;
    main->shell.target = loop;
    return STATUS_OK;
}

static void shell_post(struct master_shell *shell, const struct result *result)
{
    loop_post(shell->target, result);
}

static void shell_tell(struct master_shell *shell, const char *sentence)
{
    (void)shell;
    log_notice("%s", sentence);
}

static enum status shell_perform(void *self, struct loop *loop, struct effect *effect,
                                 struct reason *reason)
{
    (void)loop;
    struct master_main *main = self;
    return master_shell_perform(&main->shell, effect, reason);
}

static enum status shell_after_batch(void *self, struct loop *loop, struct reason *reason)
{
    (void)loop;
    struct master_main *main = self;
    return master_shell_after_batch(&main->shell, reason);
}

static void shell_close(void *self)
{
    struct master_main *main = self;
    master_shell_close(&main->shell);
}

/* HOME/cluster holds the id of the cluster this node is of, as hex: the log cannot be opened
 * without it. */
static enum status read_cluster(struct master_main *main, struct reason *reason)
{
    char path[PATH_SIZE + 32];
    char text[HEX_SIZE(sizeof(struct cluster_id)) + 1] = "";
    (void)snprintf(path, sizeof(path), "%s/cluster", main->process.paths.home);
    FILE *file = fopen(path, "re");
    if (file) {
        size_t length = fread(text, 1, sizeof(text) - 1, file);
        (void)fclose(file);
        text[length] = '\0';
        text[strcspn(text, "\n")] = '\0';
        if (!hex_parse(text, &main->settings.cluster_id, sizeof(main->settings.cluster_id)))
            return refuse(reason, STATUS_DAMAGED,
                          "%s does not hold a cluster id; write the 32 hex digits that another "
                          "node's file of that name holds",
                          path);
        return STATUS_OK;
    }
    if (main->settings.join) {
        main->settings.cluster_id = main->token.cluster;
    } else {
        enum status status =
            identity_random(&main->settings.cluster_id, sizeof(main->settings.cluster_id));
        if (status != STATUS_OK)
            return status;
    }
    hex_print(&main->settings.cluster_id, sizeof(main->settings.cluster_id), text);
    return file_replace(path, text, strlen(text), reason);
}

/* HOME/run/join.token, written by `troupe join`; it stays until the node is admitted, so that a
 * kill in between only means asking again. */
static enum status read_token(struct master_main *main, struct reason *reason)
{
    char text[JOIN_TOKEN_TEXT_SIZE] = "";
    FILE *file = fopen("join.token", "re");
    if (!file)
        return STATUS_OK;
    size_t length = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[length] = '\0';
    enum status status = join_token_parse(text, 0, &main->token, reason);
    if (status == STATUS_OK)
        main->settings.join = &main->token;
    return status;
}

static enum status sign_join(struct master_main *main)
{
    uint8_t statement[16 + 32 + 16 + 32];
    memcpy(statement, &main->token.cluster, 16);
    memcpy(statement + 16, &main->token.pair.public_key, 32);
    memcpy(statement + 48, &main->settings.node_id, 16);
    memcpy(statement + 64, &main->settings.key, 32);
    return identity_sign(&main->identity, "join", statement, sizeof(statement),
                         &main->settings.join_signature);
}

/* A port of 0 is any free one, kept over restarts in HOME/run/listen. */
static const char listen_name[] = "listen";

static void choose_listen(struct master_main *main)
{
    char kept[INTERFACE_TEXT_SIZE] = "";
    const char *wanted = config_text(&main->process.config, CONFIG_KEY_LISTEN);
    size_t length = strlen(wanted);
    (void)snprintf(main->settings.listen, sizeof(main->settings.listen), "%s", wanted);
    if (length < 2 || strcmp(wanted + length - 2, ":0") != 0)
        return;
    FILE *file = fopen(listen_name, "re");
    if (!file)
        return;
    size_t read = fread(kept, 1, sizeof(kept) - 1, file);
    (void)fclose(file);
    kept[read] = '\0';
    kept[strcspn(kept, "\n")] = '\0';
    if (strncmp(kept, wanted, length - 1) == 0)
        (void)snprintf(main->settings.listen, sizeof(main->settings.listen), "%s", kept);
}

/*
 * Binds the port that others find us by after a restart, and holds it: given up again, even for a
 * moment, it could be taken by any process that asks for a free one.  A kept port that was taken
 * while we were away is exchanged for another; the other nodes are told of it.
 */
static enum status keep_listen(struct master_main *main, struct reason *reason)
{
    struct link_options options = {.role = LINK_BIND, .message_size_max = MESSAGE_SIZE_MAX};
    const char *wanted = config_text(&main->process.config, CONFIG_KEY_LISTEN);
    const size_t length = strlen(wanted);
    if (length < 2 || strcmp(wanted + length - 2, ":0") != 0)
        return STATUS_OK; /* the step binds what the operator chose */
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "tcp://%.100s",
                   main->settings.listen);
    enum status status =
        transport_link_open(main->process.transport, MASTER_LINK_PEERS, &options, reason);
    if (status == STATUS_IN_USE && strcmp(main->settings.listen, wanted) != 0) {
        log_warning("%s; taking another free port", reason->text);
        (void)snprintf(options.endpoint, sizeof(options.endpoint), "tcp://%.100s", wanted);
        status = transport_link_open(main->process.transport, MASTER_LINK_PEERS, &options, reason);
    }
    if (status != STATUS_OK)
        return status;
    main->settings.is_bound = true;
    const char *bound = transport_endpoint(main->process.transport, MASTER_LINK_PEERS);
    (void)snprintf(main->settings.listen, sizeof(main->settings.listen), "%s",
                   bound + strlen("tcp://"));
    return file_replace(listen_name, main->settings.listen, strlen(main->settings.listen), reason);
}

static enum status describe_self(struct master_main *main)
{
    struct node_record *self = &main->settings.self;
    const struct config *config = &main->process.config;
    char name[NAME_SIZE_MAX];
    char text[INTERFACE_TEXT_SIZE];
    machine_name(name, sizeof(name));
    if (config_text(config, CONFIG_KEY_NAME)[0])
        (void)snprintf(name, sizeof(name), "%s", config_text(config, CONFIG_KEY_NAME));
    self->machine_id = machine_id_read();
    self->cores = machine_cores();
    self->memory_bytes = config_number(config, CONFIG_KEY_MEMORY_MAX);
    if (self->memory_bytes == 0)
        self->memory_bytes = machine_memory_total();
    /* MPI uses the address the other nodes know us by. */
    (void)snprintf(text, sizeof(text), "%s", main->settings.listen);
    char *port = strrchr(text, ':');
    if (port)
        *port = '\0';
    struct interface_offers *offers = &main->settings.offers;
    interface_offers_here(main->settings.listen, main->shell.thunderbolt_mbit, offers);
    main->settings.watches_interfaces = offers->is_any;
    /* One that listens at all its addresses tells the best first, whatever the system's order. */
    if (offers->is_any && offers->count > 0)
        (void)snprintf(text, sizeof(text), "%s", offers->items[0].host);
    bool ok = text_set(&self->name, name) && text_set(&self->fabric, text) &&
              text_set(&self->http, config_text(config, CONFIG_KEY_HTTP)) &&
              text_set(&self->build, main->process.build);
    return ok ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status read_settings(struct master_main *main, struct reason *reason)
{
    struct master_settings *settings = &main->settings;
    const struct config *config = &main->process.config;
    settings->node_id = main->identity.node;
    settings->key = main->identity.transport_pair.public_key;
    settings->sign_key = main->identity.sign_key;
    settings->identity = &main->identity;
    settings->incarnation = main->process.incarnation;
    settings->lease_ms = config_number(config, CONFIG_KEY_LEASE_MS);
    settings->beat_ms = config_number(config, CONFIG_KEY_BEAT_MS);
    settings->view_timeout_ms = config_number(config, CONFIG_KEY_VIEW_TIMEOUT_MS);
    settings->quorum = config_switch(config, CONFIG_KEY_QUORUM);
    settings->placement = (struct placement_settings){
        .context = (uint32_t)config_number(config, CONFIG_KEY_CONTEXT),
        .requests = (uint32_t)config_number(config, CONFIG_KEY_REQUESTS_RUNNING),
        .reserve = (uint32_t)config_number(config, CONFIG_KEY_RESERVE_TOKENS),
        .auto_asymmetric = config_switch(config, CONFIG_KEY_AUTO_ASYMMETRIC),
        .smallest_fill = config_share(config, CONFIG_KEY_ASYMMETRIC_SMALLEST),
        .cluster_fill = config_share(config, CONFIG_KEY_ASYMMETRIC_CLUSTER)};
    if (!kv_format_parse(config_text(config, CONFIG_KEY_KV_CACHE), &settings->placement.kv_format))
        return refuse(reason, STATUS_INVALID, "kv_cache is bf16 or int8, not %.40s",
                      config_text(config, CONFIG_KEY_KV_CACHE));
    const char *transport = config_text(config, CONFIG_KEY_MPI_TRANSPORT);
    settings->may_rdma = strcmp(transport, "auto") == 0;
    if (!settings->may_rdma && strcmp(transport, "tcp") != 0)
        return refuse(reason, STATUS_INVALID, "mpi_transport is auto or tcp, not %.40s",
                      transport);
    settings->state = &main->state;
    const char *advertise = config_text(config, CONFIG_KEY_ADVERTISE);
    if (advertise[0])
        (void)snprintf(settings->advertise, sizeof(settings->advertise), "%s%.200s",
                       strncmp(advertise, "tcp://", 6) == 0 ? "" : "tcp://", advertise);
    choose_listen(main);
    return STATUS_OK;
}

/* Before the rights to start programs are gone. */
static void look_for_thunderbolt(struct master_main *main)
{
    struct thunderbolt_ports ports;
    struct reason reason = {""};
    if (thunderbolt_here(&ports, &reason) == STATUS_OK)
        main->shell.thunderbolt_mbit = thunderbolt_slowest_mbit(&ports);
    else
        log_warning("%s", reason.text);
}

static enum status prepare(struct master_main *main, struct reason *reason)
{
    enum status status = read_settings(main, reason);
    look_for_thunderbolt(main);
    if (status == STATUS_OK)
        status = networks_parse(config_text(&main->process.config, CONFIG_KEY_TRUSTED_NETWORKS),
                                &main->settings.trusted, reason);
    if (status == STATUS_OK)
        status = read_token(main, reason);
    if (status == STATUS_OK)
        status = read_cluster(main, reason);
    if (status == STATUS_OK && main->settings.join)
        status = sign_join(main);
    if (status == STATUS_OK)
        status = process_keep(&main->process, actor_rights(ACTOR_MASTER), reason);
    if (status == STATUS_OK)
        status = keep_listen(main, reason);
    if (status == STATUS_OK)
        status = describe_self(main);
    struct reason notice = {""};
    main->shell.log_path = main->process.paths.log;
    main->shell.kernels_path = KERNEL_RATES_FILE;
    main->shell.store_path = main->process.paths.models;
    main->shell.listen = main->settings.listen;
    main->shell.post = shell_post;
    main->shell.tell = shell_tell;
    if (status == STATUS_OK)
        status = master_shell_open(&main->shell, &main->settings, &notice, reason);
    if (notice.text[0])
        log_warning("%s", notice.text);
    /* The token has done its work once the log knows this node. */
    if (status == STATUS_OK && main->settings.join &&
        state_find_node(&main->state, &main->settings.node_id)) {
        (void)unlink("join.token");
        main->settings.join = NULL;
    }
    return status;
}

/* The node's own pair is the master's, so the identity is read before the process is opened. */
static enum status open_identity(struct master_main *main, int argc, char **argv,
                                 struct reason *reason)
{
    struct config config;
    struct paths paths;
    char *copies[64];
    int count = argc < 64 ? argc : 64;
    memcpy(copies, argv, (size_t)count * sizeof(copies[0]));
    enum status status = config_load(&config, &count, copies, true, reason);
    if (status == STATUS_OK)
        status = paths_init(&paths, config_text(&config, CONFIG_KEY_HOME),
                            config_text(&config, CONFIG_KEY_STORE), reason);
    if (status == STATUS_OK)
        status = paths_make(&paths, reason);
    if (status == STATUS_OK)
        status = identity_open(paths.identity, &main->identity, reason);
    config_fini(&config);
    return status;
}

int main(int argc, char **argv)
{
    static struct master_main self;
    struct reason reason = {""};
    log_init("master", LOG_LEVEL_NOTICE);
    enum status status = open_identity(&self, argc, argv, &reason);
    if (status == STATUS_OK)
        status = process_open(&self.process, ACTOR_MASTER, argc, argv,
                              &self.identity.transport_pair, &reason);
    if (status != STATUS_OK)
        return process_failed(&self.process, status, &reason);
    status = prepare(&self, &reason);
    int exit_code = 0;
    if (status != STATUS_OK) {
        exit_code = process_failed(&self.process, status, &reason);
    } else {
        const struct loop_options options = {.ops = &master_ops,
                                             .settings = &self.settings,
                                             .shell = {.self = &self,
                                                       .open = shell_open,
                                                       .perform = shell_perform,
                                                       .after_batch = shell_after_batch,
                                                       .close = shell_close}};
        exit_code = process_run(&self.process, &options);
    }
    record_fini(&node_record_type, &self.settings.self);
    state_fini(&self.state);
    join_token_fini(&self.token);
    process_close(&self.process);
    identity_fini(&self.identity);
    return exit_code;
}
