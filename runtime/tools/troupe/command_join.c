/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command_join: leaves the token for the node's master, starts the node, waits until the cluster
 * has it.  When that fails, what was made for it is taken away again, so that the next try, with
 * another token, begins clean.
 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/client_channel.h"
#include "runtime/clock.h"
#include "runtime/event_log_reader.h"
#include "runtime/identity.h"
#include "runtime/tools/troupe/commands_node.h"
#include "runtime/tools/troupe/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ADMIT_MS = 30000, SETTLE_MS = 5000, LOG_TAIL_SIZE = 16384 };

struct join_try {
    struct cli *cli;
    char text[JOIN_TOKEN_TEXT_SIZE];
    struct join_token token;
    char token_path[PATH_SIZE + 64];
    char cluster_path[PATH_SIZE + 64];
    char log_path[PATH_SIZE + 64]; /* what the node's processes say */
    off_t log_start;
    uint64_t admitted_ms;
};

/* ---- may this home join? ---- */

/* What the log of a home says of its past: NOT_FOUND: none; OK: no event in it; EXISTS: it is of
 * the token's cluster; REFUSED: of another. */
static enum status look_at_log(const struct join_try *try, struct reason *reason)
{
    struct event_log_reader *reader = NULL;
    struct event_record record;
    if (access(try->cli->paths.log, F_OK) != 0)
        return STATUS_NOT_FOUND;
    enum status status = event_log_reader_open(try->cli->paths.log, NULL, &reader, reason);
    if (status == STATUS_OK)
        status = event_log_reader_seek(reader, 0, reason);
    const struct cluster_id cluster =
        status == STATUS_OK ? event_log_reader_cluster(reader) : (struct cluster_id){{0}};
    bool is_empty = false;
    if (status == STATUS_OK) {
        status = event_log_reader_next(reader, &record, reason);
        is_empty = status == STATUS_ENDED; /* a damaged one is not: it is never taken away */
    }
    event_log_reader_close(reader);
    if (is_empty)
        return STATUS_OK;
    if (status != STATUS_OK)
        return status;
    return ID_EQUAL(cluster, try->token.cluster) ? STATUS_EXISTS : STATUS_REFUSED;
}

/* A log without an event still names a cluster in its header, and would be refused in another. */
static void forget_empty_log(const struct join_try *try)
{
    static const char *const names[] = {"00000000000000000001.segment", "mark"};
    char path[PATH_SIZE + 96];
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", try->cli->paths.log, names[i]);
        (void)unlink(path);
    }
    (void)unlink(try->cluster_path);
}

static int check_home(struct join_try *try)
{
    const char *home = try->cli->paths.home;
    struct reason reason = {""};
    if (client_channel_home_is_held(home))
        return cli_failed(try->cli,
                          refuse(&reason, STATUS_BUSY,
                                 "a node runs in %s; join with a fresh directory (--home DIR), or "
                                 "stop it first (troupe stop)", home),
                          &reason);
    enum status status = look_at_log(try, &reason);
    if (status == STATUS_EXISTS)
        return cli_failed(try->cli,
                          refuse(&reason, status,
                                 "%s is a node of that cluster already; start it with troupe up",
                                 home),
                          &reason);
    if (status == STATUS_REFUSED)
        return cli_failed(try->cli,
                          refuse(&reason, status,
                                 "%s has a cluster of its own; join with a fresh directory "
                                 "(--home DIR), or move %s/log and %s/cluster away first",
                                 home, home, home),
                          &reason);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return cli_failed(try->cli, status, &reason);
    forget_empty_log(try);
    return EXIT_CODE_OK;
}

/* ---- starting ---- */

static bool find_refusal(const struct join_try *try, char line_out[512]);

/* What the child says, up to the size of the text. */
static void hear(int fd, char *text_out, size_t size)
{
    size_t length = 0;
    for (;;) {
        char rest[256];
        const bool is_full = length + 1 >= size;
        ssize_t got = is_full ? read(fd, rest, sizeof(rest))
                              : read(fd, text_out + length, size - 1 - length);
        if (got == 0 || (got < 0 && errno != EINTR))
            break;
        if (got > 0 && !is_full)
            length += (size_t)got;
    }
    text_out[length] = '\0';
}

/* The node did not start, or could not join: our sentence, or what `up` said. */
static int start_failed(struct join_try *try, int code, const char *said)
{
    char line[512];
    struct reason reason;
    if (find_refusal(try, line)) {
        (void)refuse(&reason, STATUS_NOT_ADMITTED, "%s", line);
        return cli_failed(try->cli, STATUS_NOT_ADMITTED, &reason);
    }
    (void)fputs(said, stderr);
    return code;
}

/* `troupe up` in a process of its own, its output kept from ours. */
static int start_node(struct join_try *try)
{
    int fds[2] = {-1, -1};
    char said[4096];
    struct cli *cli = try->cli;
    char *arguments[2 * CONFIG_KEY_COUNT + 8];
    int count = 0;
    arguments[count++] = (char[]){"up"};
    arguments[count++] = (char[]){"--home"};
    arguments[count++] = cli->paths.home;
    for (int i = 0; i < cli->setting_count; i++)
        arguments[count++] = cli->settings[i];
    arguments[count] = NULL;
    if (pipe2(fds, O_CLOEXEC) != 0)
        return cli_failed(cli, status_from_errno(errno), NULL);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (nothing >= 0 && dup2(nothing, STDOUT_FILENO) >= 0)
            (void)dup2(fds[1], STDERR_FILENO);
        _exit(command_up(count, arguments));
    }
    (void)close(fds[1]);
    hear(fds[0], said, sizeof(said));
    (void)close(fds[0]);
    int state = 0;
    while (pid > 0 && waitpid(pid, &state, 0) < 0 && errno == EINTR)
        continue;
    if (pid < 0)
        return cli_failed(cli, STATUS_NO_MEMORY, NULL);
    int code = WIFEXITED(state) ? WEXITSTATUS(state) : EXIT_CODE_FAILED;
    return code == EXIT_CODE_OK ? code : start_failed(try, code, said);
}

/* The line of the node's log that says why joining was refused; false when there is none. */
static bool find_refusal(const struct join_try *try, char line_out[512])
{
    static char tail[LOG_TAIL_SIZE + 1];
    int fd = open(try->log_path, O_RDONLY | O_CLOEXEC);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    off_t from = end > LOG_TAIL_SIZE ? end - LOG_TAIL_SIZE : 0;
    if (from < try->log_start)
        from = try->log_start;
    ssize_t size = end > from ? pread(fd, tail, (size_t)(end - from), from) : 0;
    if (fd >= 0)
        (void)close(fd);
    tail[size > 0 ? size : 0] = '\0';
    const char *at = strstr(tail, "joining was refused");
    if (!at)
        return false;
    (void)snprintf(line_out, 512, "%.*s", (int)(strcspn(at, "\n") % 500), at);
    return true;
}

/* ---- waiting ---- */

static bool is_admitted(struct join_try *try)
{
    struct reason reason;
    struct cli *cli = try->cli;
    const struct welcome *welcome = troupe_client_welcome(cli->client);
    const struct node_id own = welcome->node_id;
    if (troupe_client_state(cli->client, 300, &cli->state, &reason) != STATUS_OK)
        return false;
    const struct node_record *node = state_find_node(cli->state, &own);
    if (!node || !ID_EQUAL(cli->state->cluster_id, try->token.cluster))
        return false;
    /* Admitted.  It counts in placements once it told its size and commits wait for it. */
    if (try->admitted_ms == 0)
        try->admitted_ms = clock_now_ms();
    if ((node->in_view && node->cores > 0) || clock_now_ms() - try->admitted_ms > SETTLE_MS)
        return true;
    const uint64_t next_index = cli->state->index + 1;
    enum status status =
        troupe_client_state_at(cli->client, next_index, 200, &cli->state, &reason);
    return status == STATUS_NO_MEMORY; /* else looked at again, changed or not */
}

/* Connects anew each time: the node may still be starting, or giving up. */
static bool look(struct join_try *try, uint64_t deadline_ms)
{
    struct cli *cli = try->cli;
    struct troupe_channel channel;
    struct reason reason;
    struct troupe_client_options options = {
        .build = TROUPE_BUILD, .wants_state = true, .timeout_ms = 1000};
    if (!cli->client) {
        if (identity_random(options.seed, sizeof(options.seed)) != STATUS_OK ||
            client_channel_open_home(cli->paths.home, 100, &channel, &reason) != STATUS_OK ||
            troupe_client_open(&channel, &options, &cli->client, &reason) != STATUS_OK) {
            cli->client = NULL;
            if (clock_now_ms() < deadline_ms)
                clock_sleep_ms(20);
            return false;
        }
    }
    return is_admitted(try);
}

static int wait_admitted(struct join_try *try)
{
    struct cli *cli = try->cli;
    char line[512];
    struct reason reason;
    const uint64_t deadline_ms = clock_now_ms() + ADMIT_MS;
    while (!look(try, deadline_ms)) {
        if (find_refusal(try, line)) {
            (void)refuse(&reason, STATUS_NOT_ADMITTED, "%s", line);
            return cli_failed(cli, STATUS_NOT_ADMITTED, &reason);
        }
        if (!client_channel_home_is_held(cli->paths.home)) {
            (void)refuse(&reason, STATUS_ENDED, "the node ended before it had joined; see %s",
                         try->log_path);
            return cli_failed(cli, STATUS_ENDED, &reason);
        }
        if (cli_is_interrupted())
            return EXIT_CODE_INTERRUPTED;
        if (clock_now_ms() >= deadline_ms) {
            (void)refuse(&reason, STATUS_UNREACHABLE,
                         "nobody of the cluster answered at %s within %d s; is that node up, and "
                         "may this machine connect to it?",
                         try->token.addresses[0], ADMIT_MS / 1000);
            return cli_failed(cli, STATUS_UNREACHABLE, &reason);
        }
    }
    return EXIT_CODE_OK;
}

/* Nothing of a join that failed stays behind: no node, no token, no cluster id. */
static void undo(struct join_try *try)
{
    char *arguments[] = {(char[]){"stop"}, (char[]){"--home"}, try->cli->paths.home, NULL};
    troupe_client_close(try->cli->client);
    try->cli->client = NULL;
    if (client_channel_home_is_held(try->cli->paths.home)) {
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
            if (nothing >= 0 && dup2(nothing, STDOUT_FILENO) >= 0)
                (void)dup2(nothing, STDERR_FILENO);
            _exit(command_stop(3, arguments));
        }
        int state = 0;
        while (pid > 0 && waitpid(pid, &state, 0) < 0 && errno == EINTR)
            continue;
    }
    (void)unlink(try->token_path);
    struct reason unused;
    enum status status = look_at_log(try, &unused);
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        forget_empty_log(try);
}

static int print_joined(struct join_try *try)
{
    struct cli *cli = try->cli;
    const struct welcome *welcome = troupe_client_welcome(cli->client);
    char cluster[HEX_SIZE(16)];
    char node[HEX_SIZE(16)];
    char names[400] = "";
    size_t used = 0;
    hex_print(&try->token.cluster, 16, cluster);
    hex_print(&welcome->node_id, 16, node);
    const char *own = cli_node_name(cli->state, &welcome->node_id);
    if (cli->is_json)
        return json_finish(cli,
                           json_pack("{s:b, s:s, s:s, s:s, s:i}", "joined", 1, "cluster_id",
                                     cluster, "node_id", node, "name", own, "nodes",
                                     (int)cli->state->nodes.count),
                           false);
    for (uint32_t i = 0; i < cli->state->nodes.count && used < sizeof(names) - 1; i++) {
        const struct node_record *other = &cli->state->nodes.items[i];
        if (ID_EQUAL(other->node_id, welcome->node_id))
            continue;
        int length = snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
                              text_or_empty(other->name));
        used += length > 0 ? (size_t)length : 0;
    }
    (void)printf("%s joined the cluster %.8s, with %s\n", own, cluster, names);
    return EXIT_CODE_OK;
}

static int read_token(struct join_try *try)
{
    struct reason reason = {""};
    const char *word = try->cli->word_count > 0 ? try->cli->words[0] : "-";
    (void)snprintf(try->text, sizeof(try->text), "%s", word);
    if (strcmp(word, "-") == 0) {
        if (isatty(STDIN_FILENO) == 1)
            (void)fputs("token (from troupe token on a node of the cluster): ", stderr);
        if (!fgets(try->text, sizeof(try->text), stdin))
            return cli_usage_failed(try->cli, "there is no token on standard input; troupe token "
                                              "on a node of the cluster makes one");
    }
    enum status status = join_token_parse(try->text, clock_wall_ms(), &try->token, &reason);
    if (status == STATUS_OK)
        return EXIT_CODE_OK;
    (void)cli_failed(try->cli, status, &reason);
    return status == STATUS_MALFORMED ? EXIT_CODE_USAGE : cli_exit_code(status);
}

static int join(struct join_try *try)
{
    struct cli *cli = try->cli;
    struct reason reason = {""};
    int code = read_token(try);
    if (code == EXIT_CODE_OK)
        code = check_home(try);
    if (code != EXIT_CODE_OK)
        return code;
    int fd = open(try->log_path, O_RDONLY | O_CLOEXEC);
    try->log_start = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    if (fd >= 0)
        (void)close(fd);
    enum status status = paths_make(&cli->paths, &reason);
    if (status == STATUS_OK)
        status = file_replace(try->token_path, try->text, strlen(try->text), &reason);
    if (status != STATUS_OK)
        return cli_failed(cli, status, &reason);
    code = start_node(try);
    if (code == EXIT_CODE_OK)
        code = wait_admitted(try);
    if (code == EXIT_CODE_OK)
        return print_joined(try);
    undo(try);
    return code;
}

int command_join(struct cli *cli)
{
    static struct join_try try;
    if (cli->connect_flag)
        return cli_usage_failed(cli, "--connect cannot be used here: a node joins where it runs");
    try = (struct join_try){.cli = cli};
    (void)snprintf(try.token_path, sizeof(try.token_path), "%s/join.token", cli->paths.run);
    (void)snprintf(try.cluster_path, sizeof(try.cluster_path), "%s/cluster", cli->paths.home);
    (void)snprintf(try.log_path, sizeof(try.log_path), "%s/supervisor.log", cli->paths.home);
    cli_catch_interrupt();
    int code = join(&try);
    join_token_fini(&try.token);
    return code;
}
