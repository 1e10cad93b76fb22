/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command_run: a chat in the terminal.  The model is placed if it does not run yet; questions and
 * answers go through the HTTP interface of this node, as any other client's do.
 */
#include "runtime/tools/troupe/commands.h"

#include "protocol/memory.h"
#include "runtime/tools/troupe/http.h"
#include "runtime/tools/troupe/output.h"
#include "runtime/tools/troupe/place.h"
#include "runtime/tools/troupe/sse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct option_row run_options[] = {
    PLACE_OPTION_ROWS,
    {"system", "TEXT", "a system message before the conversation"},
    {"max-tokens", "N", "the longest answer"},
    {"temperature", "T", "0: the likeliest token each time; else the model's own setting"},
    {"seed", "N", "the same question then gets the same answer"},
    {"key-file", "FILE", "file with the HTTP key, where the node needs one; else $TROUPE_HTTP_KEY"},
    {.name = NULL},
};

enum { PROMPT_SIZE_MAX = 1 << 20, SILENCE_MS = 120000 };

struct chat {
    struct cli *cli;
    const char *model_id;
    char address[ADDRESS_SIZE_MAX];
    char key[HTTP_KEY_SIZE_MAX];
    json_t *messages;
    struct sse_reader sse;
    struct buffer answer;  /* text of the present answer */
    struct buffer refusal; /* body of an answer that is an error */
    int code;              /* of HTTP */
    char finish[32];
    struct reason error;   /* an error event inside the stream */
};

/* ---- one answer ---- */

static void keep_error(struct chat *chat, const json_t *root)
{
    const json_t *error = json_object_get(root, "error");
    const json_t *message = json_is_string(error) ? error : json_object_get(error, "message");
    const char *text = json_string_value(message);
    (void)refuse(&chat->error, STATUS_REFUSED, "%s", text ? text : "the node failed to answer");
}

static enum status take_chunk(void *self, const char *value, size_t size)
{
    struct chat *chat = self;
    if (size == 6 && memcmp(value, "[DONE]", 6) == 0)
        return STATUS_OK;
    json_t *root = json_loadb(value, size, 0, NULL);
    if (!root)
        return STATUS_MALFORMED;
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *piece = json_object_get(json_object_get(choice, "delta"), "content");
    const char *finish = json_string_value(json_object_get(choice, "finish_reason"));
    enum status status = STATUS_OK;
    if (json_object_get(root, "error"))
        keep_error(chat, root);
    if (finish)
        (void)snprintf(chat->finish, sizeof(chat->finish), "%s", finish);
    if (json_string_length(piece) > 0) {
        status =
            buffer_append(&chat->answer, json_string_value(piece), json_string_length(piece));
        if (chat->cli->is_json)
            (void)json_finish(chat->cli,
                              json_pack("{s:s, s:s}", "kind", "piece", "text",
                                        json_string_value(piece)),
                              true);
        else
            (void)fwrite(json_string_value(piece), 1, json_string_length(piece), stdout);
        (void)fflush(stdout);
    }
    json_decref(root);
    return status;
}

static enum status take_piece(void *self, const char *bytes, size_t size)
{
    struct chat *chat = self;
    return chat->code == 200 ? sse_feed(&chat->sse, bytes, size)
                             : buffer_append(&chat->refusal, bytes, size);
}

static json_t *chat_body(const struct chat *chat)
{
    const struct cli *cli = chat->cli;
    const char *most = cli_option(cli, "max-tokens");
    const char *temperature = cli_option(cli, "temperature");
    const char *seed = cli_option(cli, "seed");
    json_t *body = json_pack("{s:s, s:b, s:O}", "model", chat->model_id, "stream", 1, "messages",
                             chat->messages);
    if (most)
        (void)json_object_set_new(body, "max_tokens", json_integer(strtoll(most, NULL, 10)));
    if (temperature)
        (void)json_object_set_new(body, "temperature", json_real(strtod(temperature, NULL)));
    if (seed)
        (void)json_object_set_new(body, "seed", json_integer(strtoll(seed, NULL, 10)));
    return body;
}

static int chat_refused(struct chat *chat)
{
    json_t *root =
        json_loadb((const char *)chat->refusal.bytes, chat->refusal.size, 0, NULL);
    keep_error(chat, root);
    json_decref(root);
    (void)cli_failed(chat->cli, STATUS_REFUSED, &chat->error);
    if (chat->code == 401)
        cli_say(chat->cli, "give the key of this node's HTTP interface in a file (--key-file FILE) "
                           "or in $TROUPE_HTTP_KEY");
    if (chat->code == 404)
        return EXIT_CODE_NOT_FOUND;
    if (chat->code == 401 || chat->code == 403)
        return EXIT_CODE_NOT_ADMITTED;
    return chat->code == 503 ? EXIT_CODE_UNREACHABLE : EXIT_CODE_FAILED;
}

static int chat_end(struct chat *chat, enum status status, const struct reason *reason)
{
    if (!chat->cli->is_json && (chat->answer.size > 0 || status == STATUS_CANCELLED))
        (void)fputc('\n', stdout);
    if (status == STATUS_CANCELLED)
        return EXIT_CODE_INTERRUPTED;
    if (status != STATUS_OK)
        return cli_failed(chat->cli, status, reason);
    if (chat->code != 200)
        return chat_refused(chat);
    if (chat->error.text[0])
        return cli_failed(chat->cli, STATUS_REFUSED, &chat->error);
    if (strcmp(chat->finish, "length") == 0)
        cli_say(chat->cli, "(cut at its longest; --max-tokens N allows more)");
    if (chat->cli->is_json)
        return json_finish(chat->cli,
                           json_pack("{s:s, s:s, s:s%}", "kind", "answer", "finish_reason",
                                     chat->finish, "text",
                                     chat->answer.size ? (const char *)chat->answer.bytes : "",
                                     chat->answer.size),
                           true);
    return EXIT_CODE_OK;
}

/* Asks with the messages so far; the answer is printed as it comes and becomes one of them. */
static int chat_ask(struct chat *chat)
{
    struct reason reason = {""};
    json_t *body = chat_body(chat);
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (!text)
        return cli_failed(chat->cli, STATUS_NO_MEMORY, NULL);
    const struct http_request request = {.address = chat->address,
                                         .method = "POST",
                                         .path = "/v1/chat/completions",
                                         .key = chat->key,
                                         .body = text,
                                         .body_size = strlen(text),
                                         .silence_ms = SILENCE_MS,
                                         .take = take_piece,
                                         .stop = cli_is_interrupted,
                                         .self = chat};
    buffer_clear(&chat->answer);
    buffer_clear(&chat->refusal);
    chat->code = 0;
    chat->finish[0] = '\0';
    chat->error.text[0] = '\0';
    sse_init(&chat->sse, take_chunk, chat);
    cli_catch_interrupt();
    enum status status = http_exchange(&request, &chat->code, &reason);
    sse_fini(&chat->sse);
    free(text); /* style allows free: jansson allocated it */
    int code = chat_end(chat, status, &reason);
    if (code == EXIT_CODE_OK || code == EXIT_CODE_INTERRUPTED)
        (void)json_array_append_new(
            chat->messages,
            json_pack("{s:s, s:s%}", "role", "assistant", "content",
                      chat->answer.size ? (const char *)chat->answer.bytes : "",
                      chat->answer.size));
    return code;
}

static bool add_message(struct chat *chat, const char *role, const char *text)
{
    return json_array_append_new(chat->messages, json_pack("{s:s, s:s}", "role", role, "content",
                                                           text)) == 0;
}

/* ---- the conversation ---- */

/* Until the end of input.  An interrupted answer only ends the answer. */
static int converse(struct chat *chat)
{
    char *line = NULL;
    size_t capacity = 0;
    int code = EXIT_CODE_OK;
    cli_say(chat->cli, "%s: ask away; Ctrl-C ends an answer, Ctrl-D the chat", chat->model_id);
    for (;;) {
        (void)fputs("> ", stderr);
        cli_catch_interrupt();
        ssize_t length = getline(&line, &capacity, stdin);
        if (length < 0)
            break;
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = '\0';
        if (length == 0)
            continue;
        if (!add_message(chat, "user", line)) {
            code = cli_usage_failed(chat->cli, "the question is not UTF-8");
            continue;
        }
        code = chat_ask(chat);
        if (code == EXIT_CODE_UNREACHABLE)
            break;
        if (code != EXIT_CODE_OK && code != EXIT_CODE_INTERRUPTED)
            (void)json_array_remove(chat->messages, json_array_size(chat->messages) - 1);
    }
    if (isatty(STDIN_FILENO) == 1)
        (void)fputc('\n', stderr);
    free(line); /* style allows free: getline allocated it */
    return code == EXIT_CODE_INTERRUPTED ? EXIT_CODE_OK : code;
}

static int ask_input(struct chat *chat)
{
    struct buffer text;
    char bytes[4096];
    size_t got;
    enum status status = STATUS_OK;
    buffer_init(&text, PROMPT_SIZE_MAX);
    while (status == STATUS_OK && (got = fread(bytes, 1, sizeof(bytes), stdin)) > 0)
        status = buffer_append(&text, bytes, got);
    if (status == STATUS_OK)
        status = buffer_append(&text, "", 1);
    int code;
    if (status != STATUS_OK)
        code = cli_failed(chat->cli, status, NULL);
    else if (text.size == 1)
        code = cli_usage_failed(chat->cli, "there is no question on standard input");
    else if (!add_message(chat, "user", (const char *)text.bytes))
        code = cli_usage_failed(chat->cli, "the question is not UTF-8");
    else
        code = chat_ask(chat);
    buffer_fini(&text);
    return code;
}

/* ---- before it ---- */

static const struct instance_record *instance_of(const struct state *state, const char *model_id)
{
    for (uint32_t i = 0; i < state->instances.count; i++)
        if (strcmp(text_or_empty(state->instances.items[i].model_id), model_id) == 0)
            return &state->instances.items[i];
    return NULL;
}

static int make_ready(struct chat *chat)
{
    struct cli *cli = chat->cli;
    struct message command;
    struct instance_id id;
    const struct instance_record *instance = instance_of(cli->state, chat->model_id);
    if (instance) {
        id = instance->instance_id;
        return instance->status == INSTANCE_READY ? EXIT_CODE_OK : place_wait(cli, &id);
    }
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_PLACE_INSTANCE);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    int code = place_request(cli, chat->model_id, command.body);
    if (code == EXIT_CODE_OK)
        code = place_send(cli, &command, &id);
    message_fini(&command);
    return code == EXIT_CODE_OK ? place_wait(cli, &id) : code;
}

/* The address the gateway has bound, else that of the state. */
static int find_gateway(struct chat *chat)
{
    struct cli *cli = chat->cli;
    struct reason reason;
    const struct welcome *welcome = troupe_client_welcome(cli->client);
    const struct node_record *node = state_find_node(cli->state, &welcome->node_id);
    bool is_bound = !cli->connect_flag &&
                    cli_bound_http(&cli->paths, chat->address, sizeof(chat->address));
    if (!is_bound && node)
        (void)snprintf(chat->address, sizeof(chat->address), "%s", text_or_empty(node->http));
    if (chat->address[0])
        return EXIT_CODE_OK;
    return cli_failed(
        cli, refuse(&reason, STATUS_UNREACHABLE, "this node has no HTTP interface to ask"),
        &reason);
}

/* From the file or the environment: on a command line everybody on the machine would see it. */
static int find_key(struct chat *chat)
{
    struct cli *cli = chat->cli;
    const char *path = cli_option(cli, "key-file");
    const char *named = path ? path : "$TROUPE_HTTP_KEY";
    const char *given = path ? NULL : getenv("TROUPE_HTTP_KEY");
    char text[HTTP_KEY_SIZE_MAX + 2] = "";
    struct reason reason = {""};
    if (path) {
        FILE *file = fopen(path, "re");
        if (!file)
            return cli_failed(cli,
                              refuse(&reason, status_from_errno(errno), "the key file %.300s: %s",
                                     path, strerror(errno)),
                              &reason);
        if (!fgets(text, sizeof(text), file))
            text[0] = '\0';
        (void)fclose(file);
        text[strcspn(text, "\r\n")] = '\0';
        given = text;
    }
    const size_t length = given ? strlen(given) : 0;
    bool is_right = length < sizeof(chat->key) && (length > 0 || !path);
    for (size_t i = 0; i < length; i++)
        is_right = is_right && given[i] > ' ' && given[i] < 127;
    if (!is_right)
        return cli_usage_failed(cli, "%.300s holds no HTTP key: one line of letters, digits and "
                                     "signs, without spaces",
                                named);
    (void)snprintf(chat->key, sizeof(chat->key), "%s", given ? given : "");
    return EXIT_CODE_OK;
}

static int check_numbers(struct cli *cli)
{
    const char *temperature = cli_option(cli, "temperature");
    uint64_t number = 0;
    if (!cli_number(cli, "max-tokens", 1u << 24, 0, &number) ||
        !cli_number(cli, "seed", INT64_MAX, 0, &number))
        return EXIT_CODE_USAGE;
    char *end = NULL;
    double value = temperature ? strtod(temperature, &end) : 0;
    if (temperature && (end == temperature || *end != '\0' || !(value >= 0 && value <= 10)))
        return cli_usage_failed(cli, "--temperature takes a number from 0 on, not %.40s",
                                temperature);
    return EXIT_CODE_OK;
}

static int chat_run(struct chat *chat)
{
    struct cli *cli = chat->cli;
    const char *system_text = cli_option(cli, "system");
    int code = make_ready(chat);
    if (code == EXIT_CODE_OK)
        code = find_gateway(chat);
    if (code != EXIT_CODE_OK)
        return code;
    if (system_text && !add_message(chat, "system", system_text))
        return cli_usage_failed(cli, "the system message is not UTF-8");
    if (cli->word_count > 1)
        return add_message(chat, "user", cli->words[1])
                   ? chat_ask(chat)
                   : cli_usage_failed(cli, "the question is not UTF-8");
    return isatty(STDIN_FILENO) == 1 ? converse(chat) : ask_input(chat);
}

int command_run(struct cli *cli)
{
    struct chat chat = {.cli = cli, .model_id = cli->words[0], .messages = json_array()};
    buffer_init(&chat.answer, 64u << 20);
    buffer_init(&chat.refusal, 1u << 20);
    cli_catch_interrupt();
    int code = check_numbers(cli);
    if (code == EXIT_CODE_OK)
        code = find_key(&chat);
    if (code == EXIT_CODE_OK)
        code = cli_connect(cli, true);
    if (code == EXIT_CODE_OK)
        code = chat_run(&chat);
    json_decref(chat.messages);
    buffer_fini(&chat.answer);
    buffer_fini(&chat.refusal);
    return code;
}
