/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz driver for any compiler: replays the corpus in the directory it is given, then runs
 * mutations of it for FUZZ_SECONDS (default 2) from a printed seed.
 *
 * An input that ends the process, or takes longer than FUZZ_INPUT_SECONDS (default 30), is written
 * to FUZZ_CRASH_FILE, if that is set, before it dies; the same TROUPE_SEED finds it again.
 */
#include "protocol/assert.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/scratch.h"
#include "tests/support/seeded.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { ENTRY_COUNT_MAX = 4096, INPUT_SIZE_MAX = 65536 };

struct entry {
    uint8_t *bytes;
    size_t size;
};

static struct entry entries[ENTRY_COUNT_MAX];
static size_t entry_count;
static uint8_t input[INPUT_SIZE_MAX];
static size_t input_size;
static unsigned input_seconds_max = 30;

static void on_crash(int number)
{
    const char *path = getenv("FUZZ_CRASH_FILE");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    if (fd >= 0) {
        ssize_t written = write(fd, input, input_size);
        (void)written;
        (void)close(fd);
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number == SIGALRM ? SIGABRT : number);
}

static void read_corpus(const char *path)
{
    DIR *directory = opendir(path);
    if (!directory) {
        fprintf(stderr, "no corpus at %s\n", path);
        exit(EXIT_FAILURE);
    }
    struct dirent *found = NULL;
    while ((found = readdir(directory)) != NULL && entry_count < ENTRY_COUNT_MAX) {
        char name[1024];
        struct stat about;
        (void)snprintf(name, sizeof(name), "%s/%s", path, found->d_name);
        if (found->d_name[0] == '.' || stat(name, &about) != 0 || !S_ISREG(about.st_mode))
            continue;
        struct entry *entry = &entries[entry_count];
        entry->bytes = (uint8_t *)file_bytes(name, &entry->size);
        if (entry->size > INPUT_SIZE_MAX)
            entry->size = INPUT_SIZE_MAX;
        entry_count++;
    }
    (void)closedir(directory);
}

static void run(void)
{
    /* A block of exactly its size, so that a sanitizer sees any byte read beyond. */
    uint8_t *exact = memory_copied(input, input_size);
    ASSERT(exact != NULL);
    (void)alarm(input_seconds_max);
    (void)LLVMFuzzerTestOneInput(exact, input_size);
    (void)alarm(0);
    memory_free(exact);
}

static void mix_in(struct seeded *seeded)
{
    const struct entry *other = &entries[seeded_below(seeded, entry_count)];
    if (other->size == 0 || input_size == 0)
        return;
    size_t from = seeded_below(seeded, other->size);
    size_t to = seeded_below(seeded, input_size);
    size_t length = 1 + seeded_below(seeded, other->size - from);
    if (to + length > INPUT_SIZE_MAX)
        length = INPUT_SIZE_MAX - to;
    memcpy(input + to, other->bytes + from, length);
    if (to + length > input_size)
        input_size = to + length;
}

static void mutate(struct seeded *seeded)
{
    static const uint8_t telling[] = {0,  1,  9,  10, 13,  32,  34,  44,
                                      45, 58, 91, 92, 123, 127, 128, 255};
    size_t at = input_size ? seeded_below(seeded, input_size) : 0;
    switch (seeded_below(seeded, 7)) {
    case 0: /* flip a bit */
        if (input_size)
            input[at] ^= (uint8_t)(1u << seeded_below(seeded, 8));
        break;
    case 1: /* a telling byte */
        if (input_size)
            input[at] = telling[seeded_below(seeded, sizeof(telling))];
        break;
    case 2: /* cut the end */
        input_size = at;
        break;
    case 3: /* remove one */
        if (input_size) {
            memmove(input + at, input + at + 1, input_size - at - 1);
            input_size--;
        }
        break;
    case 4: /* insert one */
        if (input_size < INPUT_SIZE_MAX) {
            memmove(input + at + 1, input + at, input_size - at);
            input[at] = telling[seeded_below(seeded, sizeof(telling))];
            input_size++;
        }
        break;
    case 5: /* any byte */
        if (input_size)
            input[at] = (uint8_t)seeded_next(seeded);
        break;
    default:
        mix_in(seeded);
    }
}

/* Half of the inputs are changed as what they are, if they are JSON, a quarter token by token. */
static void change(struct seeded *seeded)
{
    const struct entry *other = &entries[seeded_below(seeded, entry_count)];
    struct mutant mutant = {input, input_size, INPUT_SIZE_MAX};
    const uint64_t way = seeded_below(seeded, 4);
    if (way < 2 && mutate_values(&mutant, other->bytes, other->size, seeded)) {
        input_size = mutant.size;
        return;
    }
    for (uint64_t left = 1 + seeded_below(seeded, 8); left > 0; left--) {
        if (way == 3) {
            mutate(seeded);
            continue;
        }
        mutant.size = input_size;
        mutate_tokens(&mutant, other->bytes, other->size, seeded);
        input_size = mutant.size;
    }
}

static long peak_mb(void)
{
    struct rusage used;
    return getrusage(RUSAGE_SELF, &used) == 0 ? used.ru_maxrss / 1024 : 0;
}

int main(int count, char **arguments)
{
    const char *limit = getenv("FUZZ_INPUT_SECONDS");
    if (limit)
        input_seconds_max = (unsigned)strtoul(limit, NULL, 10);
    (void)signal(SIGABRT, on_crash);
    (void)signal(SIGALRM, on_crash);
    for (int i = 1; i < count; i++)
        read_corpus(arguments[i]);
    for (size_t i = 0; i < entry_count; i++) {
        input_size = entries[i].size;
        memcpy(input, entries[i].bytes, input_size);
        run();
    }
    const char *text = getenv("FUZZ_SECONDS");
    uint64_t end_ms = clock_now_ms() + 1000 * (text ? strtoull(text, NULL, 10) : 2);
    struct seeded seeded = seeded_open(clock_now_us());
    uint64_t rounds = 0;
    while (entry_count > 0 && (rounds % 64 != 0 || clock_now_ms() < end_ms)) {
        const struct entry *entry = &entries[seeded_below(&seeded, entry_count)];
        input_size = entry->size;
        memcpy(input, entry->bytes, input_size);
        change(&seeded);
        run();
        rounds++;
    }
    printf("# %zu inputs replayed, %" PRIu64 " mutations, peak %ld MB\n1..1\n"
           "ok 1 - nothing broke\n",
           entry_count, rounds, peak_mb());
    for (size_t i = 0; i < entry_count; i++)
        memory_free(entries[i].bytes);
    return EXIT_SUCCESS;
}
