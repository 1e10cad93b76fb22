/* SPDX-License-Identifier: Apache-2.0 */
/*
 * render: messages, tools and options as JSON in, the text of the prompt out.
 *
 * Input {"messages": [...], "tools": [...] or null, "add_generation_prompt": true,
 * "continue_final_message": false, "kwargs": {...}}; "options" is another name for "kwargs".  With
 * --lines, each line is such an object, and a JSON string, or {"error": sentence}, is written for
 * it.
 */
#include "actors/runner/engine/commands.h"
#include "actors/runner/engine/template/chat_template.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { REQUEST_SIZE_MAX = 64 * 1024 * 1024 };

struct render_run {
    struct chat_template *chat_template;
    struct tm now;
    bool prepares; /* the messages as the HTTP API would */
};

/* The number of exactly `digit_count` digits at `*at`, in [low, high], and then `after`. */
static bool part_parse(const char **at, int digit_count, char after, int low, int high,
                       int *number_out)
{
    int number = 0;
    for (int digit = 0; digit < digit_count; digit++, ++*at) {
        if (**at < '0' || **at > '9')
            return false;
        number = number * 10 + (**at - '0');
    }
    *number_out = number;
    return *(*at)++ == after && number >= low && number <= high;
}

/* "2026-11-20 12:34:56" */
static bool now_parse(const char *text, struct tm *now_out)
{
    struct tm now = {.tm_isdst = -1};
    if (!part_parse(&text, 4, '-', 1900, 9999, &now.tm_year) ||
        !part_parse(&text, 2, '-', 1, 12, &now.tm_mon) ||
        !part_parse(&text, 2, ' ', 1, 31, &now.tm_mday) ||
        !part_parse(&text, 2, ':', 0, 23, &now.tm_hour) ||
        !part_parse(&text, 2, ':', 0, 59, &now.tm_min) ||
        !part_parse(&text, 2, '\0', 0, 59, &now.tm_sec))
        return false;
    now.tm_year -= 1900;
    now.tm_mon -= 1;
    /* Finds the day of the week and of the year; noon is the same day in every zone. */
    struct tm day = now;
    day.tm_hour = 12;
    if (mktime(&day) == (time_t)-1)
        return false;
    now.tm_wday = day.tm_wday;
    now.tm_yday = day.tm_yday;
    *now_out = now;
    return true;
}

static struct tm now_local(void)
{
    struct tm now = {0};
    time_t seconds = (time_t)(clock_wall_ms() / 1000);
    (void)localtime_r(&seconds, &now);
    return now;
}

static bool flag_of(const json_t *request, const char *name, bool fallback)
{
    const json_t *flag = json_object_get(request, name);
    return flag && !json_is_null(flag) ? json_is_true(flag) : fallback;
}

static enum status render_request(const struct render_run *run, const json_t *request,
                                  char **text_out, size_t *size_out, struct reason *reason)
{
    const json_t *messages = json_is_array(request) ? request
                                                    : json_object_get(request, "messages");
    const json_t *arguments = json_object_get(request, "kwargs");
    if (!messages)
        return refuse(reason, STATUS_INVALID, "the input has no \"messages\"");
    if (!arguments || json_is_null(arguments))
        arguments = json_object_get(request, "options");
    if (json_is_null(arguments))
        arguments = NULL;
    struct chat_prompt_options options = {
        .tools = json_object_get(request, "tools"),
        .arguments = arguments,
        .now = &run->now,
        .continue_final_message = flag_of(request, "continue_final_message", false),
    };
    options.add_generation_prompt =
        flag_of(request, "add_generation_prompt", !options.continue_final_message);
    json_t *prepared = NULL;
    if (run->prepares) {
        enum status status = chat_messages_prepare(messages, &prepared, reason);
        if (status != STATUS_OK)
            return status;
        messages = prepared;
    }
    enum status status = chat_template_render(run->chat_template, messages, &options, text_out,
                                              size_out, reason);
    json_decref(prepared);
    return status;
}

static enum status request_parse(const char *bytes, size_t size, json_t **request_out,
                                 struct reason *reason)
{
    json_error_t error;
    json_t *request = json_loadb(bytes, size, JSON_ALLOW_NUL, &error);
    if (!request)
        return refuse(reason, STATUS_MALFORMED, "the input is not JSON: line %d: %s", error.line,
                      error.text);
    *request_out = request;
    return STATUS_OK;
}

static enum status input_read(char **bytes_out, size_t *size_out, struct reason *reason)
{
    char *bytes = NULL;
    size_t size = 0, capacity = 0;
    for (;;) {
        if (size == capacity) {
            capacity = capacity ? capacity * 2 : 65536;
            char *grown = capacity > REQUEST_SIZE_MAX * (size_t)2
                              ? NULL
                              : memory_resized(bytes, capacity, 1);
            if (!grown) {
                memory_free(bytes);
                return refuse(reason, STATUS_TOO_LARGE, "the input is too large");
            }
            bytes = grown;
        }
        size_t count = fread(bytes + size, 1, capacity - size, stdin);
        if (count == 0)
            break;
        size += count;
    }
    *bytes_out = bytes;
    *size_out = size;
    return STATUS_OK;
}

static int run_once(const struct render_run *run)
{
    struct reason reason = {""};
    char *bytes = NULL, *text = NULL;
    size_t size = 0, text_size = 0;
    json_t *request = NULL;
    enum status status = input_read(&bytes, &size, &reason);
    if (status == STATUS_OK)
        status = request_parse(bytes, size, &request, &reason);
    if (status == STATUS_OK)
        status = render_request(run, request, &text, &text_size, &reason);
    if (status == STATUS_OK && (fwrite(text, 1, text_size, stdout) != text_size || fflush(stdout)))
        status = refuse(&reason, STATUS_IO, "the prompt could not be written");
    memory_free(text);
    memory_free(bytes);
    json_decref(request);
    return status == STATUS_OK ? ENGINE_EXIT_OK : engine_command_failed(status, &reason);
}

static bool line_run(const struct render_run *run, const char *line, size_t size)
{
    struct reason reason = {""};
    char *text = NULL;
    size_t text_size = 0;
    json_t *request = NULL;
    enum status status = request_parse(line, size, &request, &reason);
    if (status == STATUS_OK)
        status = render_request(run, request, &text, &text_size, &reason);
    json_t *answer = status == STATUS_OK
                         ? json_stringn(text, text_size)
                         : json_pack("{s:s%}", "error", reason.text, strlen(reason.text));
    if (!answer) /* the sentence itself was cut within a character */
        answer = json_pack("{s:s}", "error", status_text(status));
    bool written = answer && json_dumpf(answer, stdout, JSON_ENCODE_ANY) == 0 &&
                   putchar('\n') != EOF && fflush(stdout) == 0;
    json_decref(answer);
    json_decref(request);
    memory_free(text);
    return written;
}

static int run_lines(const struct render_run *run)
{
    struct reason reason = {""};
    char *bytes = NULL;
    size_t size = 0;
    enum status status = input_read(&bytes, &size, &reason);
    for (size_t begin = 0; status == STATUS_OK && begin < size;) {
        const char *end = memchr(bytes + begin, '\n', size - begin);
        size_t length = end ? (size_t)(end - bytes) - begin : size - begin;
        if (length > 0 && !line_run(run, bytes + begin, length))
            status = refuse(&reason, STATUS_IO, "a result could not be written");
        begin += length + 1;
    }
    memory_free(bytes);
    return status == STATUS_OK ? ENGINE_EXIT_OK : engine_command_failed(status, &reason);
}

int engine_command_render(int argc, char **argv)
{
    const char *model = NULL;
    bool by_line = false;
    struct render_run run = {.now = now_local()};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--lines") == 0)
            by_line = true;
        else if (strcmp(argv[i], "--as-api") == 0)
            run.prepares = true;
        else if (strcmp(argv[i], "--model") == 0 && i + 1 < argc)
            model = argv[++i];
        else if (strcmp(argv[i], "--now") == 0 && i + 1 < argc) {
            if (!now_parse(argv[++i], &run.now))
                return engine_command_usage("render", "--now needs \"2026-11-20 12:34:56\"");
        } else {
            return engine_command_usage("render", argv[i]);
        }
    }
    if (!model)
        return engine_command_usage("render", "--model DIR is missing");
    struct reason reason = {""};
    enum status status = chat_template_open(model, &run.chat_template, &reason);
    if (status != STATUS_OK)
        return engine_command_failed(status, &reason);
    int code = by_line ? run_lines(&run) : run_once(&run);
    chat_template_close(run.chat_template);
    return code;
}
