/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights_seccomp: a list of what is refused, since the libraries differ from system to system in
 * what they need.  A refused call fails with EPERM, as if the user had no permission.
 */
#include "runtime/rights_internal.h"

#if defined(__linux__) && defined(TROUPE_HAS_SECCOMP)

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* No actor needs them; a name that this machine does not know is passed over. */
static const char *const refused_always[] = {
    /* other processes' memory */
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    /* what the machine sees and runs */
    "mount", "umount", "umount2", "mount_setattr", "move_mount", "open_tree", "fsopen", "fsconfig",
    "fsmount", "fspick", "pivot_root", "chroot", "swapon", "swapoff", "quotactl", "quotactl_fd",
    "acct", "reboot", "kexec_load", "kexec_file_load", "create_module", "init_module",
    "finit_module", "delete_module", "sethostname", "setdomainname", "setns", "unshare",
    "clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64", "settimeofday",
    "adjtimex", "stime", "vhangup", "mknod", "fanotify_init", "open_by_handle_at",
    /* parts of the kernel where its faults have been found */
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "add_key", "request_key", "keyctl", "lookup_dcookie", "nfsservctl",
    "remap_file_pages", "uselib", "ustat", "sysfs", "_sysctl", "syslog", "vmsplice",
    "memfd_secret", "personality", "modify_ldt", "vm86", "vm86old", "iopl", "ioperm",
    /* another user */
    "setuid", "setuid32", "setgid", "setgid32", "setreuid", "setreuid32", "setregid",
    "setregid32", "setresuid", "setresuid32", "setresgid", "setresgid32", "setgroups",
    "setgroups32", "setfsuid", "setfsuid32", "setfsgid", "setfsgid32", "capset",
};
static const char *const refused_without_spawn[] = {"fork", "vfork", "execve", "execveat"};
/* Nobody can connect to what does not listen. */
static const char *const refused_without_listening[] = {"listen", "accept", "accept4"};

struct filter {
    scmp_filter_ctx rules;
    bool is_whole; /* every rule so far is in it */
};

/* `call` fails with `error` when its arguments are such; all of them when `count` is 0. */
static void refuse_call(struct filter *filter, const char *call, int error, unsigned count,
                        const struct scmp_arg_cmp *arguments)
{
    const int number = seccomp_syscall_resolve_name(call);
    if (number == __NR_SCMP_ERROR)
        return;
    const int result = seccomp_rule_add_array(filter->rules, SCMP_ACT_ERRNO((uint16_t)error),
                                              number, count, arguments);
    /* A call of another architecture cannot be made here. */
    filter->is_whole = filter->is_whole && (result == 0 || result == -EDOM);
}

static void refuse_all(struct filter *filter, const char *const *calls, size_t count)
{
    for (size_t i = 0; i < count; i++)
        refuse_call(filter, calls[i], EPERM, 0, NULL);
}

static void refuse_masked(struct filter *filter, const char *call, unsigned argument,
                          uint64_t mask, uint64_t value)
{
    const struct scmp_arg_cmp is = SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, mask, value);
    refuse_call(filter, call, EPERM, 1, &is);
}

/* The flags of clone3 lie where a filter cannot look: the C library then uses clone. */
static void refuse_processes(struct filter *filter, unsigned rights)
{
    static const uint64_t spaces[] = {CLONE_NEWNS,  CLONE_NEWUSER, CLONE_NEWPID,   CLONE_NEWNET,
                                      CLONE_NEWIPC, CLONE_NEWUTS,  CLONE_NEWCGROUP};
    refuse_call(filter, "clone3", ENOSYS, 0, NULL);
    if (!(rights & RIGHT_SPAWN)) {
        refuse_all(filter, refused_without_spawn, COUNT_OF(refused_without_spawn));
        refuse_masked(filter, "clone", 0, CLONE_THREAD, 0);
    }
    for (size_t i = 0; i < COUNT_OF(spaces); i++)
        refuse_masked(filter, "clone", 0, spaces[i], spaces[i]);
}

static void refuse_sockets(struct filter *filter, unsigned rights)
{
    const bool has_internet = rights & (RIGHT_NET | RIGHT_HUB | RIGHT_MPI);
    for (int family = 0; family < AF_MAX; family++) {
        const bool is_internet = family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
        const struct scmp_arg_cmp is = SCMP_CMP32(0, SCMP_CMP_EQ, (uint32_t)family);
        if (family != AF_UNIX && !(is_internet && has_internet))
            refuse_call(filter, "socket", EAFNOSUPPORT, 1, &is);
    }
    const struct scmp_arg_cmp is_newer = SCMP_CMP32(0, SCMP_CMP_GE, AF_MAX);
    refuse_call(filter, "socket", EAFNOSUPPORT, 1, &is_newer);
    if (!(rights & (RIGHT_NET | RIGHT_MPI)))
        refuse_all(filter, refused_without_listening, COUNT_OF(refused_without_listening));
}

/* Memory that is written and then run is how an attacker's code comes in. */
static void refuse_code(struct filter *filter)
{
    const uint64_t both = PROT_WRITE | PROT_EXEC;
    refuse_masked(filter, "mmap", 2, both, both);
    refuse_masked(filter, "mprotect", 2, PROT_EXEC, PROT_EXEC);
    refuse_masked(filter, "pkey_mprotect", 2, PROT_EXEC, PROT_EXEC);
}

/* Keys typed into the terminal that the node was started from. */
static void refuse_terminal(struct filter *filter)
{
    const struct scmp_arg_cmp types = SCMP_CMP32(1, SCMP_CMP_EQ, TIOCSTI);
    const struct scmp_arg_cmp pastes = SCMP_CMP32(1, SCMP_CMP_EQ, TIOCLINUX);
    refuse_call(filter, "ioctl", EPERM, 1, &types);
    refuse_call(filter, "ioctl", EPERM, 1, &pastes);
}

bool seccomp_keep(unsigned rights)
{
    struct filter filter = {seccomp_init(SCMP_ACT_ALLOW), true};
    if (!filter.rules)
        return false;
    (void)seccomp_attr_set(filter.rules, SCMP_FLTATR_CTL_TSYNC, 1);
    /* A search instead of a list; libseccomp before 2.5 has only the list. */
    (void)seccomp_attr_set(filter.rules, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    refuse_all(&filter, refused_always, COUNT_OF(refused_always));
    refuse_processes(&filter, rights);
    refuse_sockets(&filter, rights);
    refuse_code(&filter);
    refuse_terminal(&filter);
    const bool is_kept = filter.is_whole && seccomp_load(filter.rules) == 0;
    seccomp_release(filter.rules);
    return is_kept;
}

#else

bool seccomp_keep(unsigned rights)
{
    (void)rights;
    return false;
}

#endif
