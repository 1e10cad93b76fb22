/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/kernel_rates.h"

#include "protocol/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { LINE_SIZE = 256, PATH_ROOM = 4096 };

/* The rest of the line after its first word. */
static void take_name(const char *line, size_t word, char name_out[KERNEL_RATES_NAME_SIZE])
{
    (void)snprintf(name_out, KERNEL_RATES_NAME_SIZE, "%.*s", (int)strcspn(line + word, "\n"),
                   line + word);
}

/* So many numbers, the first of them above 0, and nothing else. */
static bool take_numbers(const char *line, uint64_t *numbers, size_t count, size_t above)
{
    char *at = NULL;
    for (size_t i = 0; i < count; i++) {
        errno = 0;
        if (line[0] != ' ' || line[1] < '0' || line[1] > '9')
            return false;
        numbers[i] = strtoull(line, &at, 10);
        if (errno != 0 || (i < above && numbers[i] == 0))
            return false;
        line = at;
    }
    return line[0] == '\n';
}

static bool take_rate(const char *line, enum mode mode, struct kernel_rates *rates)
{
    uint64_t numbers[7];
    if (rates->count == KERNEL_RATE_COUNT_MAX || !take_numbers(line, numbers, 7, 4) ||
        numbers[0] > UINT32_MAX || numbers[1] > UINT32_MAX)
        return false;
    rates->rates[rates->count++] =
        (struct kernel_rate){(uint32_t)numbers[0], (uint32_t)numbers[1], numbers[2], numbers[3],
                             mode, numbers[4], numbers[5], numbers[6]};
    return true;
}

static bool take_near(const char *line, struct kernel_rates *rates)
{
    uint64_t numbers[2];
    if (!take_numbers(line, numbers, 2, 2))
        return false;
    rates->near_ns = numbers[0];
    rates->near_bytes_per_s = numbers[1];
    return true;
}

static bool take_line(const char *line, struct kernel_rates *rates)
{
    if (strncmp(line, "build ", 6) == 0)
        take_name(line, 6, rates->build);
    else if (strncmp(line, "cpu ", 4) == 0)
        take_name(line, 4, rates->cpu);
    else if (strncmp(line, "fast", 4) == 0)
        return take_rate(line + 4, MODE_FAST, rates);
    else if (strncmp(line, "exact", 5) == 0)
        return take_rate(line + 5, MODE_EXACT, rates);
    else if (strncmp(line, "plain", 5) == 0)
        return take_numbers(line + 5, &rates->entry_ns, 1, 1);
    else if (strncmp(line, "near", 4) == 0)
        return take_near(line + 4, rates);
    else if (strncmp(line, "fresh", 5) == 0)
        return take_numbers(line + 5, &rates->fresh_bytes_per_s, 1, 1);
    else if (strncmp(line, "wake", 4) == 0)
        return take_numbers(line + 4, &rates->wake_ns, 1, 1);
    else
        return false;
    return true;
}

bool kernel_rates_read(const char *path, struct kernel_rates *rates_out)
{
    struct kernel_rates rates = {.count = 0};
    char line[LINE_SIZE];
    bool is_whole = true;
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (is_whole && fgets(line, sizeof(line), file))
        is_whole = take_line(line, &rates);
    (void)fclose(file);
    if (!is_whole || rates.count == 0 || !rates.build[0] || !rates.cpu[0])
        return false;
    *rates_out = rates;
    return true;
}

static bool write_lines(FILE *file, const struct kernel_rates *rates)
{
    bool ok = fprintf(file, "build %s\ncpu %s\n", rates->build, rates->cpu) > 0;
    for (uint32_t i = 0; ok && i < rates->count; i++) {
        const struct kernel_rate *rate = &rates->rates[i];
        ok = fprintf(file, "%s %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64
                     " %" PRIu64 " %" PRIu64 "\n", mode_name(rate->mode), rate->bits, rate->threads,
                     rate->bytes_per_s, rate->products_per_s, rate->attended_per_s,
                     rate->attended_many_per_s, rate->layer_ns) > 0;
    }
    if (ok && rates->entry_ns > 0)
        ok = fprintf(file, "plain %" PRIu64 "\n", rates->entry_ns) > 0;
    if (ok && rates->near_ns > 0)
        ok = fprintf(file, "near %" PRIu64 " %" PRIu64 "\n", rates->near_ns,
                     rates->near_bytes_per_s) > 0;
    if (ok && rates->fresh_bytes_per_s > 0)
        ok = fprintf(file, "fresh %" PRIu64 "\n", rates->fresh_bytes_per_s) > 0;
    if (ok && rates->wake_ns > 0)
        ok = fprintf(file, "wake %" PRIu64 "\n", rates->wake_ns) > 0;
    return ok;
}

enum status kernel_rates_write(const char *path, const struct kernel_rates *rates,
                               struct reason *reason)
{
    char beside[PATH_ROOM];
    const int length = snprintf(beside, sizeof(beside), "%s.%ld", path, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof(beside))
        return refuse(reason, STATUS_TOO_LARGE, "%.100s... is too long a path", path);
    FILE *file = fopen(beside, "we");
    bool ok = file && write_lines(file, rates);
    ok = file && fclose(file) == 0 && ok;
    if (ok && rename(beside, path) == 0)
        return STATUS_OK;
    const int error = errno;
    (void)unlink(beside);
    return refuse(reason, status_from_errno(error), "%.200s cannot be written: %s", path,
                  strerror(error));
}

void kernel_rates_cpu(char cpu_out[KERNEL_RATES_NAME_SIZE])
{
    struct utsname machine;
    char line[LINE_SIZE];
    char name[KERNEL_RATES_NAME_SIZE] = "";
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && !name[0] && fgets(line, sizeof(line), file)) {
        const char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (colon)
            take_name(colon, strspn(colon, ": "), name);
    }
    if (file)
        (void)fclose(file);
    if (!name[0] && uname(&machine) == 0)
        (void)snprintf(name, sizeof(name), "%.60s", machine.machine);
    (void)snprintf(cpu_out, KERNEL_RATES_NAME_SIZE, "%.100s, %ld cores", name,
                   sysconf(_SC_NPROCESSORS_ONLN));
}
