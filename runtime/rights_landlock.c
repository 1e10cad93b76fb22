/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights_landlock: files and tcp.  A kernel knows the rights of its version of Landlock and those
 * before; what it does not know is left out.
 */
#include "runtime/rights_internal.h"

#if defined(__linux__) && __has_include(<linux/landlock.h>)

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The attributes of version 6; the headers of an older system have only the first. */
struct ruleset_attributes {
    uint64_t files;
    uint64_t net;
    uint64_t scoped;
};

#define FILE_REFER (1ull << 13)    /* version 2 */
#define FILE_TRUNCATE (1ull << 14) /* version 3 */
#define NET_BIND (1ull << 0)       /* version 4 */
#define NET_CONNECT (1ull << 1)
#define SCOPE_ABSTRACT_SOCKET (1ull << 0) /* version 6 */
#define SCOPE_SIGNAL (1ull << 1)

enum {
    ACCESS_EXECUTE = LANDLOCK_ACCESS_FS_EXECUTE,
    ACCESS_READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    ACCESS_WRITE = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                   LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                   LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                   LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM |
                   (int)(FILE_REFER | FILE_TRUNCATE),
    ACCESS_DEVICES = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK,
    /* What a rule for a file, not for a directory, may speak of. */
    ACCESS_OF_FILE = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                     LANDLOCK_ACCESS_FS_READ_FILE | (int)FILE_TRUNCATE
};

struct ruleset {
    int fd;
    uint64_t files; /* handled */
};

/* What is not there needs no rule. */
static void allow(const struct ruleset *ruleset, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access & ruleset->files};
    struct stat facts;
    rule.parent_fd = path && *path ? open(path, O_PATH | O_CLOEXEC) : -1;
    if (rule.parent_fd < 0)
        return;
    if (fstat(rule.parent_fd, &facts) == 0) {
        if (!S_ISDIR(facts.st_mode))
            rule.allowed_access &= ACCESS_OF_FILE;
        (void)syscall(SYS_landlock_add_rule, ruleset->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0u);
    }
    (void)close(rule.parent_fd);
}

/* The directories of the libraries this process has: their plugins lie beside or below them.  Of
 * its own directory it reads the program alone: anything else may lie there. */
static void allow_libraries(const struct ruleset *ruleset)
{
    char line[4096 + 128];
    char last[4096] = "";
    char own[4096] = "";
    FILE *file = fopen("/proc/self/maps", "re");
    if (!file)
        return;
    if (readlink("/proc/self/exe", own, sizeof(own) - 1) > 0)
        allow(ruleset, own, LANDLOCK_ACCESS_FS_READ_FILE);
    while (fgets(line, sizeof(line), file)) {
        char *path = strchr(line, '/');
        char *slash = path ? strrchr(path, '/') : NULL;
        if (!strstr(line, "r-xp") || !slash || slash == path)
            continue;
        path[strcspn(path, "\n")] = '\0';
        if (strcmp(path, own) == 0)
            continue;
        *slash = '\0';
        if (strlen(path) < sizeof(last) && strcmp(path, last) != 0) {
            memcpy(last, path, strlen(path) + 1);
            allow(ruleset, last, ACCESS_READ);
        }
    }
    (void)fclose(file);
}

/* A sanitizer reads its list of exceptions when the process ends. */
static void allow_suppressions(const struct ruleset *ruleset)
{
    static const char *const variables[] = {"ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"};
    static const char key[] = "suppressions=";
    char path[4096];
    for (size_t i = 0; i < COUNT_OF(variables) && RIGHTS_UNDER_SANITIZER; i++) {
        const char *value = getenv(variables[i]);
        const char *at = value ? strstr(value, key) : NULL;
        /* `print_suppressions` ends like the key. */
        while (at && at != value && at[-1] != ':')
            at = strstr(at + 1, key);
        const size_t length = at ? strcspn(at + strlen(key), ":") : sizeof(path);
        if (length >= sizeof(path))
            continue;
        memcpy(path, at + strlen(key), length);
        path[length] = '\0';
        allow(ruleset, path, LANDLOCK_ACCESS_FS_READ_FILE);
    }
}

static void allow_system(const struct ruleset *ruleset)
{
    static const char *const read[] = {
        "/usr",          "/lib",           "/lib32",           "/lib64",
        "/bin",          "/sbin",          "/opt",             "/etc",
        "/nix/store",    "/gnu/store",     "/proc",            "/sys",
        "/dev/random",   "/dev/urandom",   "/run/resolvconf",  "/run/systemd/resolve",
        "/run/nscd",     "/run/systemd/machines"};
    static const char *const written[] = {"/dev/null", "/dev/zero", "/dev/full"};
    for (size_t i = 0; i < COUNT_OF(read); i++)
        allow(ruleset, read[i], ACCESS_READ);
    for (size_t i = 0; i < COUNT_OF(written); i++)
        allow(ruleset, written[i], ACCESS_READ | ACCESS_WRITE);
    allow_libraries(ruleset);
    allow_suppressions(ruleset);
}

/* "DIR:DIR", of models that are used in place. */
static void allow_directories(const struct ruleset *ruleset, const char *directories)
{
    char path[PATH_SIZE + 32];
    for (const char *at = directories; *at;) {
        const size_t length = strcspn(at, ":");
        if (length < sizeof(path)) {
            memcpy(path, at, length);
            path[length] = '\0';
            allow(ruleset, path, ACCESS_READ);
        }
        at += length + (at[length] == ':');
    }
}

static void allow_words(const struct ruleset *ruleset, unsigned rights,
                        const struct rights_places *places)
{
    const struct paths *paths = places->paths;
    const char *temporary = getenv("TMPDIR");
    const struct {
        unsigned right;
        const char *path;
        uint64_t access;
    } rows[] = {
        {RIGHT_HOME, paths->home, ACCESS_READ | ACCESS_WRITE},
        {RIGHT_RUN, paths->run, ACCESS_READ | ACCESS_WRITE},
        {RIGHT_LOG, paths->log, ACCESS_READ | ACCESS_WRITE},
        {RIGHT_STORE, paths->models, ACCESS_READ | ACCESS_WRITE},
        {RIGHT_STORE, paths->holdings, ACCESS_READ | ACCESS_WRITE},
        {RIGHT_HTTP, paths->journal, ACCESS_READ | ACCESS_WRITE},
        {RIGHT_HTTP, places->key_file, LANDLOCK_ACCESS_FS_READ_FILE},
        {RIGHT_READ, paths->models, ACCESS_READ},
        {RIGHT_READ, paths->holdings, ACCESS_READ},
        {RIGHT_SOURCE, "/", ACCESS_READ},
        {RIGHT_SPAWN, places->program, LANDLOCK_ACCESS_FS_READ_FILE},
        {RIGHT_MPI, "/dev/shm", ACCESS_READ | ACCESS_WRITE},
        {RIGHT_MPI, "/dev/infiniband", ACCESS_READ | ACCESS_WRITE},
        {RIGHT_MPI, temporary && *temporary ? temporary : "/tmp", ACCESS_READ | ACCESS_WRITE},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rights & rows[i].right)
            allow(ruleset, rows[i].path, rows[i].access);
    if (rights & (RIGHT_STORE | RIGHT_READ))
        allow_directories(ruleset, paths->directories);
}

/* Tcp has no rules by port here: what is handled is denied, what is not is allowed. */
static struct ruleset_attributes attributes_of(unsigned rights, long version)
{
    struct ruleset_attributes attributes = {ACCESS_READ | ACCESS_WRITE | ACCESS_DEVICES, 0, 0};
    /* With what has been kept, a program that is started can do no more than we. */
    if (!(rights & RIGHT_SPAWN))
        attributes.files |= ACCESS_EXECUTE;
    if (version < 2)
        attributes.files &= ~FILE_REFER;
    if (version < 3)
        attributes.files &= ~FILE_TRUNCATE;
    if (version >= 4 && !(rights & (RIGHT_NET | RIGHT_MPI)))
        attributes.net = rights & RIGHT_HUB ? NET_BIND : NET_BIND | NET_CONNECT;
    if (version >= 6) {
        attributes.scoped = SCOPE_SIGNAL;
        /* The service manager may listen on an abstract socket. */
        if (!(rights & RIGHT_HOME))
            attributes.scoped |= SCOPE_ABSTRACT_SOCKET;
    }
    return attributes;
}

int landlock_keep(unsigned rights, const struct rights_places *places)
{
    const long version =
        syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return 0;
    const struct ruleset_attributes attributes = attributes_of(rights, version);
    size_t size = offsetof(struct ruleset_attributes, net);
    if (version >= 4)
        size = offsetof(struct ruleset_attributes, scoped);
    if (version >= 6)
        size = sizeof(attributes);
    const struct ruleset ruleset = {
        .fd = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0u),
        .files = attributes.files};
    if (ruleset.fd < 0)
        return 0;
    allow_system(&ruleset);
    allow_words(&ruleset, rights, places);
    const bool is_kept = syscall(SYS_landlock_restrict_self, ruleset.fd, 0u) == 0;
    (void)close(ruleset.fd);
    return is_kept ? (int)version : 0;
}

#else

int landlock_keep(unsigned rights, const struct rights_places *places)
{
    (void)rights;
    (void)places;
    return 0;
}

#endif
