/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway_shell.h"

#include "actors/gateway/gateway.h"
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/log.h"
#include "runtime/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE_SIZE_MAX 65536

/* ---- inputs ---- */

struct carried {
    struct http_arrival arrival;
    struct http_input input; /* what the arrival borrows from */
};

static void carried_free(void *value)
{
    struct carried *carried = value;
    http_input_fini(&carried->input);
    memory_free(carried);
}

static void on_input(void *argument, int fd)
{
    struct loop *loop = ((void **)argument)[0];
    struct gateway_shell *shell = ((void **)argument)[1];
    (void)fd;
    for (;;) {
        /* Memory first: what is taken must not be lost, or a chat would run on for nobody.  The
         * descriptor stays readable, so without memory we are asked again. */
        struct carried *carried = memory_zeroed(1, sizeof(*carried));
        if (!carried || !http_server_next(shell->server, &carried->input)) {
            memory_free(carried);
            return;
        }
        const struct http_input input = carried->input;
        carried->arrival = (struct http_arrival){.kind = (enum http_arrival_kind)input.kind,
                                                 .exchange = input.exchange,
                                                 .method = input.method,
                                                 .path = input.path,
                                                 .query = input.query,
                                                 .body = input.body,
                                                 .body_size = input.body_size,
                                                 .host = input.host,
                                                 .range = input.range,
                                                 .if_range = input.if_range,
                                                 .if_none_match = input.if_none_match};
        struct result result = {
            .kind = GATEWAY_RESULT_HTTP, .value = carried, .value_free = carried_free};
        loop_post(loop, &result);
    }
}

_Static_assert((int)HTTP_ARRIVAL_GONE == (int)HTTP_INPUT_GONE &&
                   (int)HTTP_ARRIVAL_DRAINED == (int)HTTP_INPUT_DRAINED,
               "an arrival is an input");
_Static_assert(offsetof(struct carried, arrival) == 0, "the step reads the arrival");

/* ---- opening ---- */

static void hash_key(const char *key, size_t size, struct http_key_hash *hash_out)
{
    struct hash hash;
    hash_of(key, size, &hash);
    memcpy(hash_out->bytes, hash.bytes, sizeof(hash_out->bytes));
}

static enum status read_keys(struct gateway_shell *shell, struct reason *reason)
{
    static char text[KEY_FILE_SIZE_MAX];
    int fd = open(shell->key_file, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) != 0) {
        if (fd >= 0)
            (void)close(fd);
        return refuse(reason, status_from_errno(errno), "The file of HTTP keys %.200s: %s.",
                      shell->key_file, strerror(errno));
    }
    ssize_t size = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    if (stat.st_mode & (S_IWGRP | S_IWOTH))
        return refuse(reason, STATUS_NO_PERMISSION,
                      "Others may write the file of HTTP keys %.200s; chmod 600 it.",
                      shell->key_file);
    if (size < 0 || (size_t)size == sizeof(text) - 1)
        return refuse(reason, STATUS_TOO_LARGE, "The file of HTTP keys %.200s is too large.",
                      shell->key_file);
    text[size] = '\0';
    enum status status = http_policy_read_keys(&shell->policy, text, reason);
    if (status == STATUS_OK && shell->policy.key_count == 0)
        status = refuse(reason, STATUS_INVALID, "The file of HTTP keys %.200s has none.",
                        shell->key_file);
    return status;
}

static enum status add_hosts(struct gateway_shell *shell, struct reason *reason)
{
    const char *at = shell->hosts ? shell->hosts : "";
    while (*at) {
        char host[HTTP_HOST_SIZE_MAX];
        size_t size = strcspn(at, ", ");
        if (size >= sizeof(host))
            return refuse(reason, STATUS_TOO_LARGE, "A name in http_hosts is too long.");
        memcpy(host, at, size);
        host[size] = '\0';
        enum status status =
            size > 0 ? http_policy_add_host(&shell->policy, host, reason) : STATUS_OK;
        if (status != STATUS_OK)
            return status;
        at += size + strspn(at + size, ", ");
    }
    return STATUS_OK;
}

/* "ADDRESS:PORT", an IPv6 address in brackets. */
static enum status split_address(const char *text, char address_out[128], unsigned *port_out,
                                 struct reason *reason)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    size_t size = colon ? (size_t)(colon - text) : 0;
    bool has_brackets = size > 2 && text[0] == '[' && text[size - 1] == ']';
    if (!colon || end == colon + 1 || *end || port > 65535 || size == 0 || size >= 128)
        return refuse(reason, STATUS_INVALID,
                      "The setting http is %.100s; it must be ADDRESS:PORT, such as "
                      "127.0.0.1:52414.",
                      text);
    memcpy(address_out, text + has_brackets, size - 2 * has_brackets);
    address_out[size - 2 * has_brackets] = '\0';
    if (strcmp(address_out, "localhost") == 0)
        (void)snprintf(address_out, 128, "127.0.0.1");
    *port_out = (unsigned)port;
    return STATUS_OK;
}

/* HOME/run/http.address says where we really are, for the command line of this node. */
static enum status tell_address(struct gateway_shell *shell, const char *address,
                                struct reason *reason)
{
    char text[192];
    bool is_six = strchr(address, ':') != NULL;
    int size = snprintf(text, sizeof(text), "%s%s%s:%u\n", is_six ? "[" : "", address,
                        is_six ? "]" : "", http_server_port(shell->server));
    (void)snprintf(shell->bound, sizeof(shell->bound), "http://%.*s", size - 1, text);
    log_notice("http on %s port %u", address, http_server_port(shell->server));
    return file_replace("http.address", text, (size_t)size, reason);
}

/* The port this address had in our last life, 0: none.  Whoever asks for "any port" means any at
 * first: clients know the one we had, and try it again when we died. */
static unsigned last_port(const char *address)
{
    char text[192] = "";
    char last[128];
    unsigned port = 0;
    struct reason ignored = {""};
    int fd = open("http.address", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    const ssize_t size = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[size > 0 ? size : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (split_address(text, last, &port, &ignored) != STATUS_OK || strcmp(last, address) != 0)
        return 0;
    return port;
}

static enum status open_server(struct gateway_shell *shell, const char *address, unsigned port,
                               struct reason *reason)
{
    const struct http_guard_limits limits = http_guard_limits_default();
    const unsigned before = port == 0 ? last_port(address) : 0;
    if (before != 0 && http_server_open(address, before, &limits, &shell->policy, &shell->server,
                                        reason) == STATUS_OK)
        return STATUS_OK;
    return http_server_open(address, port, &limits, &shell->policy, &shell->server, reason);
}

static enum status shell_open(void *self, struct loop *loop, struct reason *reason)
{
    struct gateway_shell *shell = self;
    static void *watched[2]; /* one gateway per process */
    char address[128];
    unsigned port = 0;
    enum status status = split_address(shell->http, address, &port, reason);
    if (status != STATUS_OK)
        return status;
    http_policy_init(&shell->policy);
    shell->policy.hash = hash_key;
    if (shell->key_file && *shell->key_file)
        status = read_keys(shell, reason);
    if (status == STATUS_OK && !http_address_is_loopback(address))
        status = http_policy_add_host(&shell->policy, address, reason);
    if (status == STATUS_OK)
        status = add_hosts(shell, reason);
    if (status == STATUS_OK)
        status = journal_init(&shell->journal, shell->journal_path, 0, reason);
    if (status == STATUS_OK)
        status = open_server(shell, address, port, reason);
    if (status != STATUS_OK)
        return status;
    status = tell_address(shell, address, reason);
    if (status != STATUS_OK)
        return status;
    watched[0] = loop;
    watched[1] = shell;
    return loop_watch(loop, http_server_wait_fd(shell->server), on_input, watched);
}

/* ---- files of models ---- */

struct opening {
    const struct model_store_places *places;
    struct loop *loop;
    uint64_t id;
    struct file_wish *wish;
};

static void opening_free(void *argument)
{
    struct opening *opening = argument;
    file_wish_free(opening->wish);
    memory_free(opening);
}

/* The store as it is now: what was taken in or removed since the last request counts. */
static enum status open_from_store(const struct opening *opening, int *file_out,
                                   struct reason *reason)
{
    const struct file_wish *wish = opening->wish;
    struct model_store store;
    enum status status = model_store_open_read(&store, opening->places, reason);
    if (status != STATUS_OK)
        return status;
    status = model_store_open_file(&store, wish->model_id, &wish->revision, wish->name, file_out,
                                   reason);
    model_store_close(&store);
    return status;
}

static void open_wished(void *argument)
{
    struct opening *opening = argument;
    struct file_wish *wish = opening->wish;
    struct result result = {.id = opening->id,
                            .kind = GATEWAY_OPEN_FILE,
                            .value = wish,
                            .value_free = file_wish_free};
    int file = -1;
    result.status = open_from_store(opening, &file, &result.reason);
    if (file >= 0 && wish->is_head) {
        (void)close(file);
    } else if (file >= 0) {
        wish->file = http_file_open(file, wish->first, wish->size);
        if (!wish->file)
            result.status = refuse(&result.reason, STATUS_NO_MEMORY, "there is no memory");
    }
    struct loop *loop = opening->loop;
    opening->wish = NULL;
    opening_free(opening);
    loop_post(loop, &result);
}

static enum status begin_opening(struct gateway_shell *shell, struct loop *loop,
                                 struct effect *effect, struct reason *reason)
{
    struct opening *opening = memory_zeroed(1, sizeof(*opening));
    if (!opening)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to open a file");
    *opening = (struct opening){&shell->places, loop, effect->id, effect->request};
    effect->request = NULL;
    if (loop_work(loop, open_wished, opening_free, opening) == STATUS_OK)
        return STATUS_OK;
    opening_free(opening);
    return refuse(reason, STATUS_NO_MEMORY, "no thread can be started to open a file");
}

/* ---- pieces of files from other nodes ---- */

struct checking {
    struct loop *loop;
    struct piece_check *check;
};

static void checking_free(void *argument)
{
    struct checking *checking = argument;
    piece_check_free(checking->check);
    memory_free(checking);
}

static void check_piece(void *argument)
{
    struct checking *checking = argument;
    struct piece_check *check = checking->check;
    struct loop *loop = checking->loop;
    struct hash digest;
    chunk_digest_of(check->bytes.bytes, check->bytes.size, &digest);
    struct result result = {.id = check->exchange,
                            .kind = GATEWAY_CHECK_PIECE,
                            .status = ID_EQUAL(digest, check->digest) ? STATUS_OK
                                                                      : STATUS_HASH_MISMATCH,
                            .value = check,
                            .value_free = piece_check_free};
    checking->check = NULL;
    checking_free(checking);
    loop_post(loop, &result);
}

static enum status begin_checking(struct loop *loop, struct effect *effect, struct reason *reason)
{
    const struct checking made = {loop, effect->request};
    struct checking *checking = memory_copied(&made, sizeof(made));
    if (!checking)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to check a piece of a file");
    effect->request = NULL;
    if (loop_work(loop, check_piece, checking_free, checking) == STATUS_OK)
        return STATUS_OK;
    checking_free(checking);
    return refuse(reason, STATUS_NO_MEMORY, "no thread can be started to check a piece");
}

static void answer_file(struct gateway_shell *shell, struct http_output *output)
{
    struct http_file *file = output->file;
    output->file = NULL;
    (void)http_server_answer_file(shell->server, output->exchange, output->http_status,
                                  output->content_type, output->lines, file, output->size);
}

/* ---- effects ---- */

static void answer(struct gateway_shell *shell, const struct http_output *output)
{
    char retry[32];
    (void)snprintf(retry, sizeof(retry), "Retry-After: %u", output->retry_after_s);
    /* A client that left in the meantime is told by its own input. */
    (void)http_server_answer(
        shell->server, output->exchange, output->http_status, output->content_type,
        output->retry_after_s > 0 ? retry
        : output->lines           ? output->lines
                                  : output->extra,
        output->bytes.bytes, output->bytes.size);
}

static enum status perform(void *self, struct loop *loop, struct effect *effect,
                           struct reason *reason)
{
    struct gateway_shell *shell = self;
    struct http_output *output = effect->request;
    struct reason why = {""};
    switch ((enum gateway_effect)effect->kind) {
    case GATEWAY_ANSWER:
        answer(shell, output);
        break;
    case GATEWAY_STREAM_BEGIN:
        (void)http_server_stream_begin(shell->server, output->exchange);
        break;
    case GATEWAY_STREAM_WRITE:
        (void)http_server_stream_write(shell->server, output->exchange, output->bytes.bytes,
                                       output->bytes.size);
        break;
    case GATEWAY_STREAM_END:
        (void)http_server_stream_end(shell->server, output->exchange);
        break;
    case GATEWAY_JOURNAL:
        if (journal_append(&shell->journal, output->bytes.bytes, output->bytes.size, &why) !=
            STATUS_OK)
            log_warning("request journal: %s", why.text);
        break;
    case GATEWAY_OPEN_FILE:
        return begin_opening(shell, loop, effect, reason);
    case GATEWAY_FILE:
        answer_file(shell, output);
        break;
    case GATEWAY_PIPE_BEGIN:
        (void)http_server_pipe_begin(shell->server, output->exchange, output->http_status,
                                     output->content_type, output->lines, output->size);
        break;
    case GATEWAY_PIPE_WRITE:
        (void)http_server_pipe_write(shell->server, output->exchange, &output->bytes);
        break;
    case GATEWAY_CHECK_PIECE:
        return begin_checking(loop, effect, reason);
    case GATEWAY_RESULT_HTTP:
        break;
    }
    return STATUS_OK;
}

static void shell_close(void *self)
{
    struct gateway_shell *shell = self;
    http_server_close(shell->server);
    shell->server = NULL;
    journal_fini(&shell->journal);
}

struct shell gateway_shell_of(struct gateway_shell *shell)
{
    shell->server = NULL;
    shell->journal.fd = -1;
    return (struct shell){
        .self = shell, .open = shell_open, .perform = perform, .close = shell_close};
}
