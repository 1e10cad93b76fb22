/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rights.h"

#include "runtime/rights_internal.h"

#include <string.h>
#include <sys/resource.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

static enum status parse_words(const char *words, unsigned *rights_out, struct reason *reason)
{
    static const struct {
        const char *word;
        enum right right;
    } rows[] = {
        {"home", RIGHT_HOME},   {"run", RIGHT_RUN},   {"log", RIGHT_LOG},
        {"store", RIGHT_STORE}, {"http", RIGHT_HTTP}, {"read", RIGHT_READ},
        {"source", RIGHT_SOURCE}, {"net", RIGHT_NET}, {"hub", RIGHT_HUB},
        {"mpi", RIGHT_MPI},     {"spawn", RIGHT_SPAWN},
    };
    unsigned rights = 0;
    for (const char *at = words; *at; at += strspn(at, " ")) {
        const size_t length = strcspn(at, " ");
        size_t row = 0;
        while (row < COUNT_OF(rows) && (strlen(rows[row].word) != length ||
                                        memcmp(rows[row].word, at, length) != 0))
            row++;
        if (row == COUNT_OF(rows))
            return refuse(reason, STATUS_INVALID, "%.40s is no right of a process", at);
        rights |= rows[row].right;
        at += length;
    }
    *rights_out = rights;
    return STATUS_OK;
}

/* A core dump or a debugger would show keys and prompts. */
static void hide_memory(void)
{
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
#ifdef __linux__
    if (!RIGHTS_UNDER_SANITIZER)
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

enum status rights_keep(const char *words, const struct rights_places *places,
                        struct rights_kept *kept_out, struct reason *reason)
{
    unsigned rights = 0;
    enum status status = parse_words(words, &rights, reason);
    if (status != STATUS_OK)
        return status;
    struct rights_kept kept = {0, false};
    if (!places->is_debuggable)
        hide_memory();
#ifdef __linux__
    /* Without it neither of the two below is allowed. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) {
        kept.landlock_version = landlock_keep(rights, places);
        kept.has_filter = !RIGHTS_UNDER_SANITIZER && seccomp_keep(rights);
    }
#endif
    *kept_out = kept;
    return STATUS_OK;
}
