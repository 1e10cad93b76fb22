/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status path_join(char *path_out, size_t size, const char *base, const char *name,
                             struct reason *reason)
{
    int length = snprintf(path_out, size, "%s/%s", base, name);
    if (length < 0 || (size_t)length >= size)
        return refuse(reason, STATUS_TOO_LARGE, "the path %.200s... is longer than %zu characters",
                      base, size - 1);
    return STATUS_OK;
}

/* An absolute path: every process changes its directory. */
static enum status path_absolute(const char *path, char *path_out, size_t size,
                                 struct reason *reason)
{
    char here[PATH_SIZE];
    if (path[0] == '/') {
        if (strlen(path) >= size)
            return refuse(reason, STATUS_TOO_LARGE, "the path %.200s... is too long", path);
        memcpy(path_out, path, strlen(path) + 1);
        return STATUS_OK;
    }
    if (!getcwd(here, sizeof(here)))
        return refuse(reason, status_from_errno(errno), "the current directory has no name: %s",
                      strerror(errno));
    return path_join(path_out, size, here, path, reason);
}

static enum status home_find(struct paths *paths, const char *home, struct reason *reason)
{
    const char *base = getenv("XDG_STATE_HOME");
    if (home && *home)
        return path_absolute(home, paths->home, sizeof(paths->home), reason);
    if (base && base[0] == '/')
        return path_join(paths->home, sizeof(paths->home), base, "troupe", reason);
    base = getenv("HOME");
    if (base && base[0] == '/')
        return path_join(paths->home, sizeof(paths->home), base, ".local/state/troupe", reason);
    return refuse(reason, STATUS_INVALID,
                  "no directory for this node: set --home DIR, XDG_STATE_HOME or HOME");
}

/* Where the hub's own client keeps its cache. */
static enum status hub_cache_find(struct paths *paths, struct reason *reason)
{
    static const struct {
        const char *variable;
        const char *below; /* NULL: the directory itself */
    } rows[] = {{"HF_HUB_CACHE", NULL},
                {"HUGGINGFACE_HUB_CACHE", NULL},
                {"HF_HOME", "hub"},
                {"XDG_CACHE_HOME", "huggingface/hub"},
                {"HOME", ".cache/huggingface/hub"}};
    const char *home = getenv("HOME");
    char base[PATH_SIZE];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *value = getenv(rows[i].variable);
        if (!value || !*value)
            continue;
        int length = value[0] == '~' && value[1] == '/' && home
                         ? snprintf(base, sizeof(base), "%s%s", home, value + 1)
                         : snprintf(base, sizeof(base), "%s", value);
        if (length < 0 || (size_t)length >= sizeof(base) || base[0] != '/')
            return refuse(reason, STATUS_INVALID, "%s=%.200s is no absolute path", rows[i].variable,
                          value);
        if (rows[i].below)
            return path_join(paths->models, sizeof(paths->models), base, rows[i].below, reason);
        return path_absolute(base, paths->models, sizeof(paths->models), reason);
    }
    return STATUS_OK;
}

/* Where earlier versions kept models, each a directory of its own. */
static void add_old_store(struct paths *paths)
{
    char old[PATH_SIZE + 32];
    struct stat facts;
    const size_t used = strlen(paths->directories);
    (void)snprintf(old, sizeof(old), "%s/models", paths->home);
    if (strcmp(old, paths->models) != 0 && stat(old, &facts) == 0 && S_ISDIR(facts.st_mode))
        (void)snprintf(paths->directories + used, sizeof(paths->directories) - used, "%s%s",
                       used > 0 ? ":" : "", old);
}

enum status paths_set_directories(struct paths *paths, const char *directories,
                                  struct reason *reason)
{
    for (const char *at = directories; *at; at += strcspn(at, ":") + (at[strcspn(at, ":")] == ':'))
        if (*at != '/' && *at != ':')
            return refuse(reason, STATUS_INVALID,
                          "model_directories: %.200s does not begin with /", at);
    if (strlen(directories) > PATH_SIZE)
        return refuse(reason, STATUS_TOO_LARGE, "model_directories is longer than %d characters",
                      PATH_SIZE);
    memcpy(paths->directories, directories, strlen(directories) + 1);
    add_old_store(paths);
    return STATUS_OK;
}

enum status paths_init(struct paths *paths, const char *home, const char *store,
                       struct reason *reason)
{
    *paths = (struct paths){.lock_fd = -1};
    enum status status = home_find(paths, home, reason);
    const struct {
        char *path;
        const char *name;
    } rows[] = {
        {paths->config, "config.ini"}, {paths->identity, "identity"}, {paths->log, "log"},
        {paths->models, "models"},     {paths->run, "run"},           {paths->journal, "journal"},
        {paths->holdings, "holdings"},
    };
    for (size_t i = 0; i < COUNT_OF(rows) && status == STATUS_OK; i++)
        status = path_join(rows[i].path, sizeof(paths->config), paths->home, rows[i].name, reason);
    if (status != STATUS_OK)
        return status;
    return store && *store ? path_absolute(store, paths->models, sizeof(paths->models), reason)
                           : hub_cache_find(paths, reason);
}

static enum status make_one(const char *path, mode_t mode, struct reason *reason)
{
    struct stat found;
    if (mkdir(path, mode) == 0)
        return STATUS_OK;
    int error = errno;
    if (error == EEXIST && stat(path, &found) == 0 && S_ISDIR(found.st_mode))
        return STATUS_OK;
    if (error == EEXIST)
        return refuse(reason, STATUS_EXISTS,
                      "%s is not a directory; move it away or choose another with --home", path);
    return refuse(reason, status_from_errno(error),
                  "%s cannot be made: %s; choose a directory you may write to with --home", path,
                  strerror(error));
}

enum status directory_make(const char *path, struct reason *reason)
{
    char prefix[PATH_SIZE + 64];
    size_t length = strlen(path);
    struct stat found;
    if (length == 0 || length >= sizeof(prefix))
        return refuse(reason, STATUS_TOO_LARGE, "the path %.200s... is too long", path);
    if (stat(path, &found) == 0)
        return make_one(path, 0700, reason);
    memcpy(prefix, path, length + 1);
    for (size_t i = 1; i < length; i++) {
        if (prefix[i] != '/')
            continue;
        prefix[i] = 0;
        /* Only what lies in the way is looked at; parents we may not write are fine. */
        enum status status = stat(prefix, &found) == 0 ? STATUS_OK
                                                       : make_one(prefix, 0700, reason);
        if (status != STATUS_OK)
            return status;
        prefix[i] = '/';
    }
    return make_one(path, 0700, reason);
}

enum status paths_make(const struct paths *paths, struct reason *reason)
{
    const char *const all[] = {paths->home, paths->identity, paths->log,
                               paths->models, paths->run, paths->journal, paths->holdings};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        enum status status = directory_make(all[i], reason);
        if (status != STATUS_OK)
            return status;
        if (access(all[i], R_OK | W_OK | X_OK) != 0)
            return refuse(reason, status_from_errno(errno),
                          "%s cannot be written: %s; give it to this user or choose another with "
                          "%s", all[i], strerror(errno),
                          all[i] == paths->models ? "the setting store" : "--home");
    }
    struct stat found;
    if (stat(paths->run, &found) != 0)
        return refuse(reason, status_from_errno(errno), "%s: %s", paths->run, strerror(errno));
    /* Whoever can enter it can reach the sockets. */
    if (found.st_uid != geteuid() || ((found.st_mode & 077) != 0 && chmod(paths->run, 0700) != 0))
        return refuse(reason, STATUS_NO_PERMISSION,
                      "%s must belong to this user and to nobody else: chmod 700 it", paths->run);
    return STATUS_OK;
}

enum status paths_lock(struct paths *paths, struct reason *reason)
{
    char path[PATH_SIZE + 64];
    enum status status = path_join(path, sizeof(path), paths->home, "lock", reason);
    if (status != STATUS_OK)
        return status;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return refuse(reason, status_from_errno(errno), "%s cannot be written: %s", path,
                      strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;
        (void)close(fd);
        if (error == EWOULDBLOCK)
            return refuse(reason, STATUS_BUSY,
                          "a node runs in %s already; stop it with: troupe stop --home %s",
                          paths->home, paths->home);
        return refuse(reason, status_from_errno(error), "%s cannot be locked: %s", path,
                      strerror(error));
    }
    paths->lock_fd = fd;
    return STATUS_OK;
}

void paths_unlock(struct paths *paths)
{
    if (paths->lock_fd >= 0)
        (void)close(paths->lock_fd);
    paths->lock_fd = -1;
}

enum status paths_enter_run(const struct paths *paths, struct reason *reason)
{
    if (chdir(paths->run) != 0)
        return refuse(reason, status_from_errno(errno), "%s cannot be entered: %s", paths->run,
                      strerror(errno));
    return STATUS_OK;
}

static enum status write_all(int fd, const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size > 0) {
        ssize_t written = write(fd, from, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? status_from_errno(errno) : STATUS_IO;
        from += written;
        size -= (size_t)written;
    }
    return fsync(fd) == 0 ? STATUS_OK : status_from_errno(errno);
}

/* A rename is on disk when its directory is. */
static enum status directory_sync(const char *path)
{
    char directory[PATH_SIZE + 64];
    const char *slash = strrchr(path, '/');
    int length = slash && slash != path
        ? snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path), path)
        : snprintf(directory, sizeof(directory), "%s", slash ? "/" : ".");
    if (length < 0 || (size_t)length >= sizeof(directory))
        return STATUS_TOO_LARGE;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return status_from_errno(errno);
    enum status status = fsync(fd) == 0 ? STATUS_OK : status_from_errno(errno);
    (void)close(fd);
    return status;
}

enum status file_replace(const char *path, const void *bytes, size_t size, struct reason *reason)
{
    char beside[PATH_SIZE + 80];
    int length = snprintf(beside, sizeof(beside), "%s.%ld.new", path, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof(beside))
        return refuse(reason, STATUS_TOO_LARGE, "the path %.200s... is too long", path);
    (void)unlink(beside);
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    enum status status = fd < 0 ? status_from_errno(errno) : write_all(fd, bytes, size);
    if (fd >= 0 && close(fd) != 0 && status == STATUS_OK)
        status = status_from_errno(errno);
    if (status == STATUS_OK && rename(beside, path) != 0)
        status = status_from_errno(errno);
    if (status == STATUS_OK)
        status = directory_sync(path);
    if (status != STATUS_OK) {
        (void)unlink(beside);
        return refuse(reason, status, "%s cannot be written: %s", path, status_text(status));
    }
    return STATUS_OK;
}
