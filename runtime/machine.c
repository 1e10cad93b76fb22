/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/machine.h"

#include "protocol/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach/mach.h>
#endif

static size_t read_text(const char *path, char *text_out, size_t size)
{
    FILE *file = fopen(path, "re");
    text_out[0] = '\0';
    if (!file)
        return 0;
    size_t length = fread(text_out, 1, size - 1, file);
    text_out[length] = '\0';
    (void)fclose(file);
    return length;
}

struct machine_id machine_id_read(void)
{
    char text[256];
    struct hash_stream stream;
    struct hash hash;
    struct stat namespace_stat;
    hash_init(&stream);
    size_t length = read_text("/etc/machine-id", text, sizeof(text));
    if (length == 0)
        length = read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text));
    hash_update(&stream, text, length);
    if (length == 0 && gethostname(text, sizeof(text)) == 0)
        hash_update(&stream, text, strnlen(text, sizeof(text)));
    if (stat("/proc/self/ns/net", &namespace_stat) == 0)
        hash_update(&stream, &namespace_stat.st_ino, sizeof(namespace_stat.st_ino));
    hash_final(&stream, &hash);
    struct machine_id id;
    memcpy(&id, &hash, sizeof(id));
    return id;
}

uint32_t machine_cores(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 && cores < 65536 ? (uint32_t)cores : 1;
}

/* "MemAvailable:   123 kB" */
static uint64_t meminfo(const char *key)
{
    char text[4096];
    if (read_text("/proc/meminfo", text, sizeof(text)) == 0)
        return 0;
    const char *at = strstr(text, key);
    return at ? strtoull(at + strlen(key), NULL, 10) * 1024u : 0;
}

static uint64_t cgroup_number(const char *name)
{
    char path[512];
    char text[64];
    char group[384];
    if (read_text("/proc/self/cgroup", group, sizeof(group)) == 0 || strncmp(group, "0::", 3) != 0)
        return UINT64_MAX;
    group[strcspn(group, "\n")] = '\0';
    (void)snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s", group + 3, name);
    if (read_text(path, text, sizeof(text)) == 0 || strncmp(text, "max", 3) == 0)
        return UINT64_MAX;
    return strtoull(text, NULL, 10);
}

uint64_t machine_memory_total(void)
{
    uint64_t total = meminfo("MemTotal:");
    if (total == 0) {
        long pages = sysconf(_SC_PHYS_PAGES);
        long page = sysconf(_SC_PAGESIZE);
        total = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    }
    uint64_t limit = cgroup_number("memory.max");
    return limit < total ? limit : total;
}

uint64_t machine_memory_free(void)
{
    uint64_t available = meminfo("MemAvailable:");
    if (available == 0)
        return machine_memory_total() / 2;
    uint64_t limit = cgroup_number("memory.max");
    uint64_t used = cgroup_number("memory.current");
    if (limit != UINT64_MAX && used != UINT64_MAX) {
        uint64_t left = limit > used ? limit - used : 0;
        return left < available ? left : available;
    }
    return available;
}

#ifdef __APPLE__
bool machine_busy_us(uint64_t *busy_us_out)
{
    host_cpu_load_info_data_t load;
    mach_msg_type_number_t count = HOST_CPU_LOAD_INFO_COUNT;
    const long ticks = sysconf(_SC_CLK_TCK);
    if (ticks <= 0 || host_statistics(mach_host_self(), HOST_CPU_LOAD_INFO,
                                      (host_info_t)&load, &count) != KERN_SUCCESS)
        return false;
    const uint64_t busy = (uint64_t)load.cpu_ticks[CPU_STATE_USER] +
                          load.cpu_ticks[CPU_STATE_SYSTEM] + load.cpu_ticks[CPU_STATE_NICE];
    *busy_us_out = busy * 1000000u / (uint64_t)ticks;
    return true;
}
#else
/* "cpu  user nice system idle iowait irq softirq steal ..." in ticks (proc(5)); what a hypervisor
 * takes away is as much in the way as what runs here. */
bool machine_busy_us(uint64_t *busy_us_out)
{
    enum { IDLE = 3, IOWAIT = 4, FIELDS = 8 };
    char text[256];
    const long ticks = sysconf(_SC_CLK_TCK);
    if (ticks <= 0 || read_text("/proc/stat", text, sizeof(text)) == 0 ||
        strncmp(text, "cpu ", 4) != 0)
        return false;
    uint64_t busy = 0;
    char *at = text + 4;
    for (int i = 0; i < FIELDS; i++) {
        const uint64_t value = strtoull(at, &at, 10);
        busy += i == IDLE || i == IOWAIT ? 0 : value;
    }
    *busy_us_out = busy * 1000000u / (uint64_t)ticks;
    return true;
}
#endif

double machine_load(void)
{
    double average = 0;
    if (getloadavg(&average, 1) != 1)
        return 0;
    double share = average / machine_cores();
    return share > 1 ? 1 : share;
}

uint64_t machine_disk_free(const char *path)
{
    struct statvfs stat;
    if (statvfs(path, &stat) != 0)
        return 0;
    return (uint64_t)stat.f_bavail * stat.f_frsize;
}

void machine_name(char *name_out, size_t size)
{
    if (gethostname(name_out, size) != 0 || name_out[0] == '\0')
        (void)snprintf(name_out, size, "node");
    name_out[size - 1] = '\0';
}
