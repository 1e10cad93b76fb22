/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/cli.h"

#include "protocol/hash.h"
#include "runtime/client_channel.h"
#include "runtime/identity.h"
#include "runtime/tools/troupe/connection.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

extern char **environ;

enum { CONNECT_MS = 5000, STATE_MS = 5000, COMMAND_MS = 15000 };

static const struct option_row common_options[] = {
    {"home", "DIR", "the node's directory; else TROUPE_HOME, or the user's own node"},
    {"connect", "FILE", "a node elsewhere, by the file that troupe client add wrote"},
    {"json", NULL, "one JSON document on standard output, or JSON lines for what goes on"},
    {"help", NULL, "this text"},
    {.name = NULL},
};

/* ---- sentences and exit codes ---- */

static void complain(const struct cli *cli, const char *sentence)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "troupe %s: %s\n", cli->command->name, sentence);
}

int cli_exit_code(enum status status)
{
    static const struct {
        enum status status;
        int code;
    } codes[] = {
        {STATUS_OK, EXIT_CODE_OK},
        {STATUS_NOT_FOUND, EXIT_CODE_NOT_FOUND},
        {STATUS_NO_HOLDER, EXIT_CODE_NOT_FOUND},
        {STATUS_UNREACHABLE, EXIT_CODE_UNREACHABLE},
        {STATUS_NO_LEADER, EXIT_CODE_UNREACHABLE},
        {STATUS_TIMED_OUT, EXIT_CODE_UNREACHABLE},
        {STATUS_NOT_ADMITTED, EXIT_CODE_NOT_ADMITTED},
        {STATUS_NO_PERMISSION, EXIT_CODE_NOT_ADMITTED},
        {STATUS_SPENT, EXIT_CODE_NOT_ADMITTED},
        {STATUS_EXPIRED, EXIT_CODE_NOT_ADMITTED},
        {STATUS_NO_CAPACITY, EXIT_CODE_NO_CAPACITY},
        {STATUS_CANCELLED, EXIT_CODE_INTERRUPTED},
    };
    for (size_t i = 0; i < COUNT_OF(codes); i++)
        if (codes[i].status == status)
            return codes[i].code;
    return EXIT_CODE_FAILED;
}

int cli_failed(const struct cli *cli, enum status status, const struct reason *reason)
{
    complain(cli, reason && reason->text[0] ? reason->text : status_text(status));
    return cli_exit_code(status);
}

int cli_usage_failed(const struct cli *cli, const char *format, ...)
{
    char sentence[600];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    complain(cli, sentence);
    return EXIT_CODE_USAGE;
}

void cli_say(const struct cli *cli, const char *format, ...)
{
    va_list arguments;
    if (cli->is_json)
        return;
    va_start(arguments, format);
    (void)fflush(stdout);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
}

/* ---- the nearest name ---- */

/* Edit distance of words up to 31 letters; 99 beyond. */
static size_t distance(const char *a, const char *b)
{
    size_t row[33];
    const size_t a_length = strlen(a);
    const size_t b_length = strlen(b);
    if (a_length > 31 || b_length > 31)
        return 99;
    for (size_t k = 0; k <= b_length; k++)
        row[k] = k;
    for (size_t i = 1; i <= a_length; i++) {
        size_t before = row[0];
        row[0] = i;
        for (size_t k = 1; k <= b_length; k++) {
            size_t best = before + (a[i - 1] != b[k - 1]);
            before = row[k];
            if (row[k] + 1 < best)
                best = row[k] + 1;
            if (row[k - 1] + 1 < best)
                best = row[k - 1] + 1;
            row[k] = best;
        }
    }
    return row[b_length];
}

const char *nearest_name(const char *wrong, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    size_t best = strlen(wrong) < 4 ? 2 : 3;
    for (size_t i = 0; i < count; i++) {
        size_t far = distance(wrong, names[i]);
        if (far < best) {
            best = far;
            nearest = names[i];
        }
    }
    return nearest;
}

/* ---- arguments ---- */

static const struct option_row *row_find(const struct option_row *rows, const char *name,
                                         size_t length, size_t *at_out)
{
    for (size_t i = 0; rows && rows[i].name; i++) {
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0) {
            ASSERT(i < CLI_OPTIONS_MAX);
            *at_out = i;
            return &rows[i];
        }
    }
    return NULL;
}

static int unknown_option(const struct cli *cli, const char *name, size_t length)
{
    const char *names[CLI_OPTIONS_MAX + COUNT_OF(common_options)];
    size_t count = 0;
    char wrong[64];
    (void)snprintf(wrong, sizeof(wrong), "%.*s", (int)(length < 63 ? length : 63), name);
    for (size_t i = 0; cli->command->options && cli->command->options[i].name; i++)
        names[count++] = cli->command->options[i].name;
    for (size_t i = 0; common_options[i].name; i++)
        names[count++] = common_options[i].name;
    const char *nearest = nearest_name(wrong, names, count);
    if (nearest)
        return cli_usage_failed(cli, "there is no option --%s; did you mean --%s?", wrong, nearest);
    return cli_usage_failed(cli, "there is no option --%s; see troupe %s --help", wrong,
                            cli->command->name);
}

/* Where a common option is kept. */
static void keep_common(struct cli *cli, const char *name, const char *value)
{
    if (strcmp(name, "home") == 0)
        cli->home_flag = value;
    else if (strcmp(name, "connect") == 0)
        cli->connect_flag = value;
    else
        cli->is_json = true;
}

/* One setting for the node: kept as written, with its value. */
static int keep_setting(struct cli *cli, char **argv, int *at, int argc)
{
    if ((size_t)cli->setting_count + 2 >= COUNT_OF(cli->settings))
        return cli_usage_failed(cli, "too many settings");
    cli->settings[cli->setting_count++] = argv[*at];
    if (!strchr(argv[*at], '=') && *at + 1 < argc && strncmp(argv[*at + 1], "--", 2) != 0)
        cli->settings[cli->setting_count++] = argv[++*at];
    return EXIT_CODE_OK;
}

static bool is_setting(const struct cli *cli, const char *name, size_t length)
{
    for (int key = 0; cli->command->takes_settings && key < CONFIG_KEY_COUNT; key++) {
        const char *known = config_name((enum config_key)key);
        bool is_same = strlen(known) == length;
        for (size_t i = 0; is_same && i < length; i++)
            is_same = known[i] == (name[i] == '-' ? '_' : name[i]);
        if (is_same)
            return true;
    }
    return false;
}

static int read_option(struct cli *cli, int argc, char **argv, int *at)
{
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    const size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const char *value = equals ? equals + 1 : NULL;
    size_t index = 0;
    const struct option_row *own = row_find(cli->command->options, name, length, &index);
    size_t common_index = 0;
    const struct option_row *row =
        own ? own : row_find(common_options, name, length, &common_index);
    if (!row && is_setting(cli, name, length))
        return keep_setting(cli, argv, at, argc);
    if (!row)
        return unknown_option(cli, name, length);
    if (!row->value && value)
        return cli_usage_failed(cli, "--%s takes no value", row->name);
    if (row->value && !value) {
        if (*at + 1 >= argc)
            return cli_usage_failed(cli, "--%s needs a value: --%s %s", row->name, row->name,
                                    row->value);
        value = argv[++*at];
    }
    if (own)
        cli->values[index] = value ? value : "";
    else
        keep_common(cli, row->name, value);
    return EXIT_CODE_OK;
}

static int read_words(struct cli *cli, int argc, char **argv)
{
    bool is_over = false;
    for (int i = 0; i < argc; i++) {
        if (!is_over && strcmp(argv[i], "--") == 0) {
            is_over = true;
            continue;
        }
        if (!is_over && strncmp(argv[i], "--", 2) == 0) {
            int code = read_option(cli, argc, argv, &i);
            if (code != EXIT_CODE_OK)
                return code;
            continue;
        }
        if (!is_over && argv[i][0] == '-' && argv[i][1] != '\0')
            return cli_usage_failed(cli, "%s is no option; see troupe %s --help", argv[i],
                                    cli->command->name);
        if (cli->word_count >= cli->command->words_max || cli->word_count >= CLI_WORDS_MAX)
            return cli_usage_failed(cli, "%.60s is one argument too many: troupe %s %s", argv[i],
                                    cli->command->name, cli->command->arguments);
        cli->words[cli->word_count++] = argv[i];
    }
    if (cli->word_count < cli->command->words_min)
        return cli_usage_failed(cli, "an argument is missing: troupe %s %s", cli->command->name,
                                cli->command->arguments);
    return EXIT_CODE_OK;
}

/* Flag, environment, file, default. */
static enum status read_config(struct cli *cli, struct reason *reason)
{
    struct config *config = &cli->config;
    enum status status = config_init(config, reason);
    if (status == STATUS_OK && cli->home_flag)
        status = config_set(config, "home", cli->home_flag, CONFIG_FLAG, "command line", reason);
    if (status == STATUS_OK)
        status = config_read_environment(config, environ, reason);
    if (status == STATUS_OK)
        status = paths_init(&cli->paths, config_text(config, CONFIG_KEY_HOME), NULL, reason);
    if (status == STATUS_OK)
        status = config_read_file(config, cli->paths.config, false, reason);
    if (status == STATUS_OK)
        status = paths_init(&cli->paths, config_text(config, CONFIG_KEY_HOME),
                            config_text(config, CONFIG_KEY_STORE), reason);
    return status;
}

/* As the hub's own client reads its variables. */
static bool is_yes(const char *value)
{
    static const char *const words[] = {"1", "ON", "YES", "TRUE"};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcasecmp(value, words[i]) == 0)
            return true;
    return false;
}

static void look_at_terminal(struct cli *cli)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *force = getenv("CLICOLOR_FORCE");
    const char *term = getenv("TERM");
    const char *silence = getenv("HF_HUB_DISABLE_PROGRESS_BARS");
    cli->is_without_progress = silence && is_yes(silence);
    cli->is_terminal = isatty(STDERR_FILENO) == 1 && !cli->is_json;
    cli->has_colour = isatty(STDOUT_FILENO) == 1 && (!term || strcmp(term, "dumb") != 0);
    if (force && *force && strcmp(force, "0") != 0)
        cli->has_colour = true;
    if ((no_colour && *no_colour) || cli->is_json)
        cli->has_colour = false;
}

int cli_init(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct reason reason = {""};
    *cli = (struct cli){.command = command, .paths = {.lock_fd = -1}};
    int code = read_words(cli, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    look_at_terminal(cli);
    enum status status = read_config(cli, &reason);
    if (status != STATUS_OK) {
        (void)cli_failed(cli, status, &reason);
        return EXIT_CODE_CONFIGURATION;
    }
    return EXIT_CODE_OK;
}

void cli_fini(struct cli *cli)
{
    troupe_client_close(cli->client);
    cli->client = NULL;
    config_fini(&cli->config);
}

const char *cli_option(const struct cli *cli, const char *name)
{
    size_t index = 0;
    const struct option_row *row =
        row_find(cli->command->options, name, strlen(name), &index);
    ASSERT(row != NULL);
    return cli->values[index];
}

bool cli_number(const struct cli *cli, const char *name, uint64_t most, uint64_t standard,
                uint64_t *number_out)
{
    const char *text = cli_option(cli, name);
    char *end = NULL;
    if (!text) {
        *number_out = standard;
        return true;
    }
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || number > most) {
        (void)cli_usage_failed(cli, "--%s takes a number from 0 to %" PRIu64 ", not %.40s", name,
                               most, text);
        return false;
    }
    *number_out = number;
    return true;
}

/* ---- the node ---- */

int cli_connect_bare(struct cli *cli, bool wants_state, bool wants_messages)
{
    struct reason reason = {""};
    struct troupe_channel channel;
    struct troupe_client_options options = {.build = TROUPE_BUILD,
                                            .wants_state = wants_state,
                                            .wants_messages = wants_messages,
                                            .timeout_ms = CONNECT_MS};
    enum status status = identity_random(options.seed, sizeof(options.seed));
    if (status == STATUS_OK)
        status = cli->connect_flag
                     ? connection_open(cli->connect_flag, &channel, &reason)
                     : client_channel_open_home(cli->paths.home, CONNECT_MS, &channel, &reason);
    if (status == STATUS_OK)
        status = troupe_client_open(&channel, &options, &cli->client, &reason);
    if (status == STATUS_OK)
        return EXIT_CODE_OK;
    return cli_failed(cli, status, &reason);
}

int cli_connect(struct cli *cli, bool wants_messages)
{
    struct reason reason = {""};
    int code = cli_connect_bare(cli, true, wants_messages);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = troupe_client_state(cli->client, STATE_MS, &cli->state, &reason);
    return status == STATUS_OK ? EXIT_CODE_OK : cli_failed(cli, status, &reason);
}

int cli_state_at(struct cli *cli, uint64_t index)
{
    struct reason reason = {""};
    enum status status =
        troupe_client_state_at(cli->client, index, STATE_MS, &cli->state, &reason);
    return status == STATUS_OK ? EXIT_CODE_OK : cli_failed(cli, status, &reason);
}

int cli_command(struct cli *cli, struct message *command, struct message *answer_out)
{
    struct reason reason = {""};
    enum status status =
        troupe_client_command(cli->client, command, COMMAND_MS, answer_out, &reason);
    return status == STATUS_OK ? EXIT_CODE_OK : cli_failed(cli, status, &reason);
}

/* ---- names ---- */

const char *cli_node_name(const struct state *state, const struct node_id *id)
{
    const struct node_record *node = state_find_node(state, id);
    return node ? text_or_empty(node->name) : "(removed)";
}

/* Lower-case hex of an id begins with the text. */
static bool id_begins(const void *id, const char *prefix)
{
    char hex[HEX_SIZE(16)];
    const size_t length = strlen(prefix);
    return length > 0 && length < sizeof(hex) &&
           strncmp(hex_print(id, 16, hex), prefix, length) == 0;
}

/* Those of this name; where there is none, those whose id begins so. */
static uint32_t count_nodes(const struct state *state, const char *name, bool is_id,
                            const struct node_record **found_out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->nodes.count; i++) {
        const struct node_record *node = &state->nodes.items[i];
        if (is_id ? !id_begins(&node->node_id, name)
                  : strcmp(text_or_empty(node->name), name) != 0)
            continue;
        *found_out = node;
        count++;
    }
    return count;
}

int cli_find_node(struct cli *cli, const char *name, struct node_id *id_out)
{
    const struct node_record *found = NULL;
    uint32_t count = count_nodes(cli->state, name, false, &found);
    if (count == 0)
        count = count_nodes(cli->state, name, true, &found);
    struct reason reason;
    char listed[NODES_LISTED_SIZE];
    if (count > 1)
        return cli_failed(cli,
                          refuse(&reason, STATUS_INVALID,
                                 "%.60s fits %u nodes; give more of the id (troupe nodes)", name,
                                 count),
                          &reason);
    if (!found)
        return cli_failed(cli,
                          refuse(&reason, STATUS_NOT_FOUND,
                                 "there is no node %.60s; there are %s", name,
                                 state_nodes_list(cli->state, listed)),
                          &reason);
    *id_out = found->node_id;
    return EXIT_CODE_OK;
}

static uint32_t count_instances(const struct state *state, const char *name, bool is_id,
                                const struct instance_record **found_out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->instances.count; i++) {
        const struct instance_record *instance = &state->instances.items[i];
        if (is_id ? !id_begins(&instance->instance_id, name)
                  : strcmp(text_or_empty(instance->model_id), name) != 0)
            continue;
        *found_out = instance;
        count++;
    }
    return count;
}

int cli_find_instance(struct cli *cli, const char *name, struct instance_id *id_out)
{
    const struct instance_record *found = NULL;
    uint32_t count = count_instances(cli->state, name, false, &found);
    if (count == 0)
        count = count_instances(cli->state, name, true, &found);
    struct reason reason;
    if (count > 1)
        return cli_failed(cli,
                          refuse(&reason, STATUS_INVALID,
                                 "%.60s fits %u instances; give more of the id (troupe ps)", name,
                                 count),
                          &reason);
    if (!found)
        return cli_failed(cli,
                          refuse(&reason, STATUS_NOT_FOUND,
                                 "there is no instance %.60s; troupe ps lists them", name),
                          &reason);
    *id_out = found->instance_id;
    return EXIT_CODE_OK;
}

bool cli_bound_http(const struct paths *paths, char *address_out, size_t size)
{
    char path[PATH_SIZE + 64];
    (void)snprintf(path, sizeof(path), "%s/http.address", paths->run);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    if (!fgets(address_out, (int)size, file))
        address_out[0] = '\0';
    (void)fclose(file);
    address_out[strcspn(address_out, "\r\n")] = '\0';
    return address_out[0] != '\0';
}

/* ---- interruption ---- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

void cli_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    /* Without SA_RESTART: a read that waits comes back.  A second SIGINT ends us at once. */
    action.sa_flags = (int)SA_RESETHAND;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    interrupted = 0;
}

bool cli_is_interrupted(void)
{
    return interrupted != 0;
}
