/* SPDX-License-Identifier: Apache-2.0 */
/*
 * troupe-log: the inspector of the event log.  It reads only, without a lock, beside a living node.
 */
#include "runtime/clock.h"
#include "runtime/paths.h"
#include "runtime/tools/troupe_log/inspect.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "usage: troupe-log COMMAND [OPTIONS]\n"
    "\n"
    "Reads the event log of a node, also while the node runs.  Changes nothing.\n"
    "\n"
    "commands\n"
    "  list             events, oldest first\n"
    "  follow           the same, then each new one as it is written, until interrupted\n"
    "  show INDEX       one event in full\n"
    "  state [INDEX]    what the log meant after that event (default: the last)\n"
    "  verify           every checksum, the chain, every event applied, every snapshot compared\n"
    "  diff LOG LOG     where two logs part, and what only one of them has\n"
    "\n"
    "which log\n"
    "  --log PATH       a log directory, or one file of it (a segment, a branch-*, a damaged-*)\n"
    "  --home DIR       the log of the node with this home directory (default: TROUPE_HOME, or\n"
    "                   the user's own node)\n"
    "\n"
    "which events (list, follow, diff)\n"
    "  --from N, --to N      by index\n"
    "  --since T, --until T  by time: 2026-11-21T13:05:00 (UTC), 90s, 10m, 2h or 3d ago, or\n"
    "                        milliseconds since 1970\n"
    "  --kind NAME[,NAME]    by kind, such as instance_placed; --kind help lists them\n"
    "  --actor NAME          said by or about this actor, such as runner; none: from a command\n"
    "  --instance HEX        about the instance whose id begins so\n"
    "  --node HEX            said by or about the node whose id begins so\n"
    "  --limit N             at most so many (diff: of each side; default 20)\n"
    "\n"
    "how\n"
    "  --json           JSON lines: one object an event, or one for the answer\n"
    "  --full           whole bodies in text lines\n"
    "  --help           this text\n"
    "\n"
    "exit codes\n"
    "  0  done; verify: whole; diff: the same\n"
    "  1  damaged, different, or not in the log\n"
    "  2  wrong usage\n"
    "  3  could not be read (no permission, out of memory, the disk failed)\n";

struct command {
    const char *name;
    int (*run)(const struct inspect_options *options);
    int words_min;
    int words_max;
    bool takes_log;
};

static const struct command commands[] = {
    {"list", inspect_list, 0, 0, true},     {"follow", inspect_follow, 0, 0, true},
    {"show", inspect_show, 1, 1, true},     {"state", inspect_state, 0, 1, true},
    {"verify", inspect_verify, 0, 0, true}, {"diff", inspect_diff, 2, 2, false},
};

static bool number_parse(const char *text, uint64_t *number_out)
{
    char *end = NULL;
    errno = 0;
    if (text[0] < '0' || text[0] > '9')
        return false;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0')
        return false;
    *number_out = number;
    return true;
}

static int list_kinds(void)
{
    size_t count = 0;
    (void)message_type_at(0, &count);
    for (size_t i = 0; i < count; i++) {
        const struct message_type *type = message_type_at(i, &count);
        if (type->kind == MESSAGE_EVENT)
            (void)printf("%-24s %s\n", type->name, type->sentence);
    }
    exit(EXIT_FINE);
}

/* Names, with commas between; false with the sentence printed. */
static bool kinds_parse(struct inspect_options *options, const char *text)
{
    if (strcmp(text, "help") == 0)
        (void)list_kinds();
    while (*text) {
        char name[64];
        size_t length = strcspn(text, ",");
        (void)snprintf(name, sizeof(name), "%.*s", (int)(length < 63 ? length : 63), text);
        const struct message_type *type = message_type_named(MESSAGE_EVENT, name);
        if (!type || options->kind_count == KINDS_MAX) {
            (void)complain(0, "no event is called '%s'; --kind help lists them", name);
            return false;
        }
        options->kinds[options->kind_count++] = type->code;
        text += length + (text[length] == ',' ? 1 : 0);
    }
    return true;
}

static bool prefix_parse(char *prefix, size_t size, const char *option, const char *text)
{
    size_t length = strlen(text);
    if (length > 0 && length < size && strspn(text, "0123456789abcdef") == length) {
        memcpy(prefix, text, length + 1);
        return true;
    }
    (void)complain(0, "--%s takes the first digits of an id in lower-case hex, not '%s'", option,
                   text);
    return false;
}

static bool actor_parse(struct inspect_options *options, const char *text)
{
    options->actor = (int)actor_kind_find(text);
    if (options->actor != ACTOR_NONE || strcmp(text, "none") == 0)
        return true;
    (void)complain(0, "no actor is called '%s'", text);
    return false;
}

static bool value_complain(bool valid, const char *option, const char *text)
{
    if (!valid)
        (void)complain(0, "--%s can not be '%s'; see troupe-log --help", option, text);
    return valid;
}

enum { OPT_LOG = 256, OPT_HOME, OPT_FROM, OPT_TO, OPT_SINCE, OPT_UNTIL, OPT_KIND, OPT_ACTOR,
       OPT_INSTANCE, OPT_NODE, OPT_LIMIT, OPT_JSON, OPT_FULL, OPT_HELP };

static const struct option option_rows[] = {
    {"log", required_argument, NULL, OPT_LOG},
    {"home", required_argument, NULL, OPT_HOME},
    {"from", required_argument, NULL, OPT_FROM},
    {"to", required_argument, NULL, OPT_TO},
    {"since", required_argument, NULL, OPT_SINCE},
    {"until", required_argument, NULL, OPT_UNTIL},
    {"kind", required_argument, NULL, OPT_KIND},
    {"actor", required_argument, NULL, OPT_ACTOR},
    {"instance", required_argument, NULL, OPT_INSTANCE},
    {"node", required_argument, NULL, OPT_NODE},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"json", no_argument, NULL, OPT_JSON},
    {"full", no_argument, NULL, OPT_FULL},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static bool log_set(struct inspect_options *options, const char *path)
{
    bool fits = strlen(path) < sizeof(options->log);
    if (fits)
        memcpy(options->log, path, strlen(path) + 1);
    return fits;
}

static bool home_set(struct inspect_options *options, const char *home)
{
    struct paths paths;
    struct reason reason = {""};
    if (paths_init(&paths, home, NULL, &reason) == STATUS_OK)
        return log_set(options, paths.log);
    (void)complain(0, "%s", reason.text);
    return false;
}

static bool option_take(struct inspect_options *options, int option, const char *text)
{
    uint64_t now_ms = clock_wall_ms();
    switch (option) {
    case OPT_LOG:
        return value_complain(log_set(options, text), "log", text);
    case OPT_HOME:
        return home_set(options, text);
    case OPT_FROM:
        return value_complain(number_parse(text, &options->from_index), "from", text);
    case OPT_TO:
        return value_complain(number_parse(text, &options->to_index), "to", text);
    case OPT_SINCE:
        return value_complain(time_parse(text, now_ms, &options->since_ms), "since", text);
    case OPT_UNTIL:
        return value_complain(time_parse(text, now_ms, &options->until_ms), "until", text);
    case OPT_KIND:
        return kinds_parse(options, text);
    case OPT_ACTOR:
        return actor_parse(options, text);
    case OPT_INSTANCE:
        return prefix_parse(options->instance, sizeof(options->instance), "instance", text);
    case OPT_NODE:
        return prefix_parse(options->node, sizeof(options->node), "node", text);
    case OPT_LIMIT:
        return value_complain(number_parse(text, &options->limit), "limit", text);
    case OPT_JSON:
        options->json = true;
        return true;
    case OPT_FULL:
        options->full = true;
        return true;
    default:
        (void)complain(0, "there is no option '%s', or its value is missing; see troupe-log --help",
                       text);
        return false;
    }
}

static bool options_parse(struct inspect_options *options, int count, char **arguments)
{
    int option = 0;
    opterr = 0;
    while ((option = getopt_long(count, arguments, "h", option_rows, NULL)) != -1) {
        if (option == OPT_HELP || option == 'h') {
            (void)fputs(help_text, stdout);
            exit(EXIT_FINE);
        }
        if (!option_take(options, option, option == '?' ? arguments[optind - 1] : optarg))
            return false;
    }
    for (int i = optind; i < count; i++) {
        if (options->word_count == (int)COUNT_OF(options->words)) {
            (void)complain(0, "'%s' is one word too many", arguments[i]);
            return false;
        }
        options->words[options->word_count++] = arguments[i];
    }
    return true;
}

static const struct command *command_find(struct inspect_options *options)
{
    const char *name = options->word_count > 0 ? options->words[0] : "";
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        options->word_count--;
        memmove(options->words, options->words + 1,
                (size_t)options->word_count * sizeof(options->words[0]));
        if (options->word_count >= commands[i].words_min &&
            options->word_count <= commands[i].words_max)
            return &commands[i];
        (void)complain(0, "'%s' takes %s; see troupe-log --help", name,
                       commands[i].words_max == 0   ? "no words"
                       : commands[i].words_max == 2 ? "two logs"
                                                    : "one index");
        return NULL;
    }
    (void)complain(0, *name ? "there is no command '%s'; see troupe-log --help"
                            : "say which command%s; see troupe-log --help", name);
    return NULL;
}

/* show and state take their index as a word. */
static bool index_take(struct inspect_options *options, const struct command *command)
{
    if (command->run == inspect_state)
        options->from_index = UINT64_MAX;
    if (command->words_max != 1 || options->word_count == 0)
        return true;
    bool valid = number_parse(options->words[0], &options->from_index) &&
                 (options->from_index > 0 || command->run == inspect_state);
    if (!valid)
        (void)complain(0, "an index is a number from 1, not '%s'", options->words[0]);
    return valid;
}

int main(int count, char **arguments)
{
    struct inspect_options options = {.to_index = UINT64_MAX,
                                      .until_ms = UINT64_MAX,
                                      .limit = UINT64_MAX,
                                      .actor = -1};
    /* A pager that is closed ends the listing. */
    (void)signal(SIGPIPE, SIG_DFL);
    if (!options_parse(&options, count, arguments))
        return EXIT_USAGE;
    const struct command *command = command_find(&options);
    if (!command || !index_take(&options, command))
        return EXIT_USAGE;
    if (command->run == inspect_diff && options.limit == UINT64_MAX)
        options.limit = 20;
    if (command->takes_log && !options.log[0] && !home_set(&options, getenv("TROUPE_HOME")))
        return EXIT_USAGE;
    return command->run(&options);
}
