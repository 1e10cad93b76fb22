/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/config_rows.h"

#include "protocol/memory.h"
#include "runtime/paths.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

enum { FILE_SIZE_MAX = 64 * 1024, LINE_LENGTH_MAX = INI_MAX_LINE - 3 };

/* Variables of the runtime and of the tests, which are no settings. */
static const char *const reserved_variables[] = {
    "TROUPE_READY_FD", "TROUPE_BEAT_FD", "TROUPE_SOURCE_DIR", "TROUPE_BUILD_DIR", "TROUPE_SEED",
    "TROUPE_HTTP_KEY", "TROUPE_KERNELS",
    "TROUPE_JOBS", "TROUPE_THREAD_SUITES", "TROUPE_LOG_CASES", "TROUPE_LOG_EVENTS",
    "TROUPE_MUTATIONS", "TROUPE_SIMULATIONS",
    "TROUPE_INCARNATION", "TROUPE_INSTANCE", "TROUPE_GENERATION", "TROUPE_RANK",
    "TROUPE_FABRIC_ADDRESS", "TROUPE_FABRIC_WAYS", "TROUPE_FRONT_ADDRESS",
};

/* Reads one flag; `used_out` is the number of arguments it took, 0 when it is none of ours. */
static enum status flag_read(struct config *config, char **arguments, int left, bool lenient,
                             int *used_out, struct reason *reason)
{
    char name[64];
    const char *flag = arguments[0] + 2;
    const char *equals = strchr(flag, '=');
    size_t length = equals ? (size_t)(equals - flag) : strlen(flag);
    *used_out = 0;
    int written = snprintf(name, sizeof(name), "%.*s", (int)(length < 63 ? length : 63), flag);
    int key = written > 0 && length < 63 ? config_find(name) : -1;
    if (key < 0)
        return lenient ? STATUS_OK : config_unknown(name, "command line", reason);
    const char *value = equals ? equals + 1 : NULL;
    bool is_switch = config_rows[key].type == CONFIG_SWITCH;
    *used_out = 1;
    if (!value && is_switch && (left < 2 || arguments[1][0] == '-')) {
        value = "true";
    } else if (!value) {
        if (left < 2)
            return refuse(reason, STATUS_INVALID, "--%s needs a value", name);
        value = arguments[1];
        *used_out = 2;
    }
    return config_set(config, name, value, CONFIG_FLAG, "command line", reason);
}

enum status config_read_flags(struct config *config, int *count, char **arguments, bool lenient,
                              struct reason *reason)
{
    int kept = 0;
    int i = 0;
    while (i < *count) {
        bool is_flag = i > 0 && strncmp(arguments[i], "--", 2) == 0;
        int used = 0;
        if (is_flag && arguments[i][2] == 0) {
            /* What follows is no longer ours; a lenient reader still needs to see the mark. */
            i += lenient ? 0 : 1;
            while (i < *count)
                arguments[kept++] = arguments[i++];
            break;
        }
        if (is_flag) {
            enum status status = flag_read(config, arguments + i, *count - i, lenient, &used,
                                           reason);
            if (status != STATUS_OK)
                return status;
        }
        if (used == 0)
            arguments[kept++] = arguments[i++];
        i += used;
    }
    *count = kept;
    return STATUS_OK;
}

static bool is_reserved(const char *variable, size_t length)
{
    for (size_t i = 0; i < COUNT_OF(reserved_variables); i++) {
        if (strlen(reserved_variables[i]) == length &&
            memcmp(reserved_variables[i], variable, length) == 0)
            return true;
    }
    return false;
}

enum status config_read_environment(struct config *config, char *const *environment,
                                    struct reason *reason)
{
    static const char prefix[] = "TROUPE_";
    for (; environment && *environment; environment++) {
        const char *variable = *environment;
        const char *equals = strchr(variable, '=');
        size_t length = equals ? (size_t)(equals - variable) : 0;
        char name[64];
        if (strncmp(variable, prefix, strlen(prefix)) != 0 || is_reserved(variable, length))
            continue;
        length = length < strlen(prefix) ? 0 : length - strlen(prefix);
        if (length >= sizeof(name))
            length = sizeof(name) - 1;
        for (size_t i = 0; i < length; i++)
            name[i] = (char)tolower((unsigned char)variable[strlen(prefix) + i]);
        name[length] = 0;
        enum status status = config_set(config, name, equals ? equals + 1 : "",
                                        CONFIG_ENVIRONMENT, "environment", reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

struct file_reading {
    struct config *config;
    const char *path;
    bool is_seen[CONFIG_KEY_COUNT];
    enum status status;
    struct reason reason;
};

static int on_setting(void *user, const char *section, const char *name, const char *value)
{
    struct file_reading *reading = user;
    int key = config_find(name);
    if (reading->status != STATUS_OK)
        return 0;
    if (*section && strcmp(section, "troupe") != 0)
        reading->status = refuse(&reading->reason, STATUS_INVALID,
                                 "%s: there is no section [%.60s]; settings need none",
                                 reading->path, section);
    else if (key == CONFIG_KEY_HOME)
        reading->status = refuse(&reading->reason, STATUS_INVALID,
                                 "%s: home cannot be set here, since the file lies in it",
                                 reading->path);
    else if (key >= 0 && reading->is_seen[key])
        reading->status = refuse(&reading->reason, STATUS_INVALID, "%s: %s is set twice",
                                 reading->path, name);
    else
        reading->status = config_set(reading->config, name, value, CONFIG_FILE, reading->path,
                                     &reading->reason);
    if (key >= 0)
        reading->is_seen[key] = true;
    return reading->status == STATUS_OK;
}

/* Text of the whole file; the caller frees it.  NULL with OK: there is none. */
static enum status file_read(const char *path, bool must_exist, char **text_out,
                             struct reason *reason)
{
    *text_out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && !must_exist)
        return STATUS_OK;
    if (fd < 0)
        return refuse(reason, status_from_errno(errno),
                      "%s cannot be read: %s; give it to this user or choose another directory "
                      "with --home", path, strerror(errno));
    char *text = memory_zeroed(FILE_SIZE_MAX + 2, 1);
    size_t size = 0;
    ssize_t got = -1;
    errno = ENOMEM;
    while (text && size <= FILE_SIZE_MAX &&
           (got = read(fd, text + size, FILE_SIZE_MAX + 1 - size)) > 0)
        size += (size_t)got;
    int error = errno;
    (void)close(fd);
    enum status status = STATUS_OK;
    if (got < 0)
        status = refuse(reason, status_from_errno(error), "%s cannot be read: %s", path,
                        strerror(error));
    else if (size > FILE_SIZE_MAX)
        status = refuse(reason, STATUS_TOO_LARGE, "%s is larger than %d bytes", path,
                        FILE_SIZE_MAX);
    else if (strlen(text) != size)
        status = refuse(reason, STATUS_MALFORMED, "%s is no text", path);
    if (status != STATUS_OK)
        memory_free(text);
    else
        *text_out = text;
    return status;
}

/* inih cuts longer lines in two, which would read as something else. */
static int long_line(const char *text)
{
    int number = 1;
    while (*text) {
        size_t length = strcspn(text, "\n");
        if (length > LINE_LENGTH_MAX)
            return number;
        text += length + (text[length] == '\n');
        number++;
    }
    return 0;
}

enum status config_read_text(struct config *config, const char *text, const char *where,
                             struct reason *reason)
{
    struct file_reading reading = {.config = config, .path = where};
    int line = long_line(text);
    if (line > 0)
        return refuse(reason, STATUS_TOO_LARGE, "%s: line %d is longer than %d characters", where,
                      line, (int)LINE_LENGTH_MAX);
    line = ini_parse_string(text, on_setting, &reading);
    if (reading.status != STATUS_OK)
        return refuse(reason, reading.status, "%s", reading.reason.text);
    if (line != 0)
        return refuse(reason, STATUS_MALFORMED,
                      "%s: line %d is no setting; write: key = value", where, line);
    return STATUS_OK;
}

enum status config_read_file(struct config *config, const char *path, bool must_exist,
                             struct reason *reason)
{
    char *text;
    enum status status = file_read(path, must_exist, &text, reason);
    if (status != STATUS_OK || !text)
        return status;
    status = config_read_text(config, text, path, reason);
    memory_free(text);
    return status;
}

enum status config_load(struct config *config, int *count, char **arguments, bool lenient,
                        struct reason *reason)
{
    struct paths paths;
    enum status status = config_init(config, reason);
    if (status != STATUS_OK)
        return status;
    status = config_read_flags(config, count, arguments, lenient, reason);
    if (status == STATUS_OK)
        status = config_read_environment(config, environ, reason);
    if (status == STATUS_OK)
        status = paths_init(&paths, config_text(config, CONFIG_KEY_HOME), NULL, reason);
    if (status == STATUS_OK)
        status = config_read_file(config, paths.config, false, reason);
    if (status != STATUS_OK)
        config_fini(config);
    return status;
}
