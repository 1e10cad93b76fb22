/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/launcher/pmix_host.h"

#include "actors/launcher/launch_directory.h"
#include "actors/launcher/rank_environment.h"
#include "protocol/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <pmix.h>
#include <pmix_server.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PENDING_MAX = FENCE_PENDING_MAX, NAME_LIST_SIZE = 8192 };

struct queued {
    struct pmix_host_event event;
    struct queued *next;
};

/* A callback of libpmix that waits for its answer. */
struct pending {
    bool used;
    bool is_fence;
    uint64_t request; /* of a modex */
    uint64_t sequence;
    char signature[FENCE_SIGNATURE_SIZE];
    pmix_modex_cbfunc_t answer;
    void *answer_context;
};

struct signature_count {
    char signature[FENCE_SIGNATURE_SIZE];
    uint64_t sequence_next;
};

struct pmix_host {
    struct launch_directory directory;
    pmix_nspace_t name;
    uint32_t rank;
    uint32_t rank_count;
    bool registered;
    int descriptor;
    struct fence_table *fences; /* loop thread only */
    struct signature_count counts[PENDING_MAX];
    /* Shared with libpmix's thread. */
    pthread_mutex_t mutex;
    struct queued *first;
    struct queued *last;
    struct pending pending[PENDING_MAX];
    uint64_t request_next;
};

/* libpmix gives most upcalls no context of ours, and has one server for each process. */
static struct pmix_host *the_host;

/* ---- upcalls: libpmix's thread; they copy, queue and wake the loop ---- */

/* Takes `bytes`. */
static pmix_status_t queue_event(struct pmix_host *host, struct pmix_host_event event)
{
    struct queued *queued = memory_zeroed(1, sizeof(*queued));
    if (!queued) {
        memory_free(event.bytes);
        return PMIX_ERR_NOMEM;
    }
    queued->event = event;
    (void)pthread_mutex_lock(&host->mutex);
    if (host->last)
        host->last->next = queued;
    else
        host->first = queued;
    host->last = queued;
    (void)pthread_mutex_unlock(&host->mutex);
    (void)eventfd_write(host->descriptor, 1);
    return PMIX_SUCCESS;
}

/* Mutex held. */
static struct pending *pending_create(struct pmix_host *host)
{
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (!host->pending[i].used)
            return &host->pending[i];
    return NULL;
}

static pmix_status_t on_connected(const pmix_proc_t *proc, void *object, pmix_info_t rows[],
                                  size_t row_count, pmix_op_cbfunc_t done, void *done_context)
{
    (void)object;
    (void)rows;
    (void)row_count;
    struct pmix_host_event event = {.kind = PMIX_HOST_CONNECTED, .rank = proc->rank};
    pmix_status_t result = queue_event(the_host, event);
    if (done)
        done(result, done_context);
    return PMIX_SUCCESS;
}

static pmix_status_t on_finalized(const pmix_proc_t *proc, void *object, pmix_op_cbfunc_t done,
                                  void *done_context)
{
    (void)object;
    struct pmix_host_event event = {.kind = PMIX_HOST_FINALIZED, .rank = proc->rank};
    pmix_status_t result = queue_event(the_host, event);
    if (done)
        done(result, done_context);
    return PMIX_SUCCESS;
}

static pmix_status_t on_abort(const pmix_proc_t *proc, void *object, int code, const char text[],
                              pmix_proc_t procs[], size_t proc_count, pmix_op_cbfunc_t done,
                              void *done_context)
{
    (void)object;
    (void)text;
    (void)procs;
    (void)proc_count;
    struct pmix_host_event event = {
        .kind = PMIX_HOST_ABORTED, .rank = proc->rank, .code = code};
    pmix_status_t result = queue_event(the_host, event);
    if (done)
        done(result, done_context);
    return PMIX_SUCCESS;
}

/* The ranks of a fence; false when another namespace or too many take part. */
static bool signature_of(const pmix_proc_t procs[], size_t proc_count,
                         char signature_out[FENCE_SIGNATURE_SIZE])
{
    uint32_t ranks[FENCE_RANKS_MAX];
    if (proc_count == 0 || proc_count > FENCE_RANKS_MAX)
        return false;
    for (size_t i = 0; i < proc_count; i++) {
        if (strncmp(procs[i].nspace, the_host->name, PMIX_MAX_NSLEN) != 0)
            return false;
        if (procs[i].rank == PMIX_RANK_WILDCARD)
            return fence_signature(NULL, 0, signature_out) == STATUS_OK;
        ranks[i] = procs[i].rank;
    }
    return fence_signature(ranks, proc_count, signature_out) == STATUS_OK;
}

static pmix_status_t on_fence(const pmix_proc_t procs[], size_t proc_count,
                              const pmix_info_t rows[], size_t row_count, char *bytes,
                              size_t size, pmix_modex_cbfunc_t done, void *done_context)
{
    (void)rows;
    (void)row_count;
    struct pmix_host_event event = {.kind = PMIX_HOST_FENCE, .rank = the_host->rank};
    if (!signature_of(procs, proc_count, event.signature)) {
        memory_free(bytes);
        return PMIX_ERR_NOT_SUPPORTED;
    }
    /* libpmix unloads its buffer into `bytes`, which is ours from here on. */
    event.bytes = bytes;
    event.size = size;
    (void)pthread_mutex_lock(&the_host->mutex);
    struct pending *pending = pending_create(the_host);
    if (pending) {
        *pending = (struct pending){.used = true, .is_fence = true, .answer = done,
                                    .answer_context = done_context};
        event.request = pending->request = ++the_host->request_next;
    }
    (void)pthread_mutex_unlock(&the_host->mutex);
    if (!pending) {
        memory_free(bytes);
        return PMIX_ERR_OUT_OF_RESOURCE;
    }
    return queue_event(the_host, event);
}

static pmix_status_t on_modex(const pmix_proc_t *proc, const pmix_info_t rows[],
                              size_t row_count, pmix_modex_cbfunc_t done, void *done_context)
{
    (void)rows;
    (void)row_count;
    struct pmix_host_event event = {.kind = PMIX_HOST_MODEX_WANTED, .rank = proc->rank};
    if (strncmp(proc->nspace, the_host->name, PMIX_MAX_NSLEN) != 0 ||
        proc->rank >= the_host->rank_count)
        return PMIX_ERR_NOT_FOUND;
    (void)pthread_mutex_lock(&the_host->mutex);
    struct pending *pending = pending_create(the_host);
    if (pending) {
        *pending = (struct pending){.used = true, .answer = done,
                                    .answer_context = done_context};
        event.request = pending->request = ++the_host->request_next;
    }
    (void)pthread_mutex_unlock(&the_host->mutex);
    return pending ? queue_event(the_host, event) : PMIX_ERR_OUT_OF_RESOURCE;
}

static pmix_status_t on_register_events(pmix_status_t *codes, size_t code_count,
                                        const pmix_info_t rows[], size_t row_count,
                                        pmix_op_cbfunc_t done, void *done_context)
{
    (void)codes;
    (void)code_count;
    (void)rows;
    (void)row_count;
    if (done)
        done(PMIX_SUCCESS, done_context);
    return PMIX_SUCCESS;
}

static pmix_status_t on_deregister_events(pmix_status_t *codes, size_t code_count,
                                          pmix_op_cbfunc_t done, void *done_context)
{
    return on_register_events(codes, code_count, NULL, 0, done, done_context);
}

/* Nobody outside the rank listens: the launcher learns of deaths from the kernel, and sooner. */
static pmix_status_t on_notify(pmix_status_t code, const pmix_proc_t *source,
                               pmix_data_range_t range, pmix_info_t rows[], size_t row_count,
                               pmix_op_cbfunc_t done, void *done_context)
{
    (void)code;
    (void)source;
    (void)range;
    (void)rows;
    (void)row_count;
    if (done)
        done(PMIX_SUCCESS, done_context);
    return PMIX_SUCCESS;
}

static pmix_status_t on_query(pmix_proc_t *proc, pmix_query_t *queries, size_t query_count,
                              pmix_info_cbfunc_t done, void *done_context)
{
    (void)proc;
    (void)queries;
    (void)query_count;
    (void)done;
    (void)done_context;
    return PMIX_ERR_NOT_SUPPORTED;
}

static pmix_status_t on_job_control(const pmix_proc_t *proc, const pmix_proc_t targets[],
                                    size_t target_count, const pmix_info_t directives[],
                                    size_t directive_count, pmix_info_cbfunc_t done,
                                    void *done_context)
{
    (void)proc;
    (void)targets;
    (void)target_count;
    (void)directives;
    (void)directive_count;
    (void)done;
    (void)done_context;
    return PMIX_ERR_NOT_SUPPORTED;
}

static pmix_server_module_t upcalls = {
    .abort = on_abort,
    .client_connected2 = on_connected,
    .client_finalized = on_finalized,
    .fence_nb = on_fence,
    .direct_modex = on_modex,
    .register_events = on_register_events,
    .deregister_events = on_deregister_events,
    .notify_event = on_notify,
    .query = on_query,
    .job_control = on_job_control,
};

/* ---- what the namespace is ---- */

/* Rows for libpmix, filled one by one and destructed together. */
struct info_list {
    pmix_info_t items[32];
    size_t count;
};

static void info_add(struct info_list *list, const char *key, const void *value,
                     pmix_data_type_t type)
{
    ASSERT(list->count < COUNT_OF(list->items));
    PMIX_INFO_LOAD(&list->items[list->count], key, value, type);
    list->count++;
}

static void info_add_u32(struct info_list *list, const char *key, uint32_t value)
{
    info_add(list, key, &value, PMIX_UINT32);
}

static void info_fini(struct info_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        PMIX_INFO_DESTRUCT(&list->items[i]);
    list->count = 0;
}

struct operation {
    sem_t finished;
    pmix_status_t result;
};

static void on_operation(pmix_status_t result, void *context)
{
    struct operation *operation = context;
    operation->result = result;
    (void)sem_post(&operation->finished);
}

/* Waits for the callback when there will be one. */
static pmix_status_t operation_wait(struct operation *operation, pmix_status_t started)
{
    pmix_status_t result = started == PMIX_OPERATION_SUCCEEDED ? PMIX_SUCCESS : started;
    if (started == PMIX_SUCCESS) {
        while (sem_wait(&operation->finished) != 0 && errno == EINTR)
            continue;
        result = operation->result;
    }
    (void)sem_destroy(&operation->finished);
    return result;
}

static struct operation *operation_begin(struct operation *operation)
{
    operation->result = PMIX_ERROR;
    ASSERT(sem_init(&operation->finished, 0, 0) == 0);
    return operation;
}

/* "n0,n1" and "0;1", compressed as libpmix wants them. */
static pmix_status_t info_add_maps(struct info_list *list,
                                   const struct pmix_host_options *options)
{
    char names[NAME_LIST_SIZE];
    char ranks[NAME_LIST_SIZE];
    size_t names_used = 0;
    size_t ranks_used = 0;
    for (uint32_t i = 0; i < options->rank_count; i++) {
        int length = snprintf(names + names_used, sizeof(names) - names_used, "%s%s",
                              i ? "," : "", options->nodes[i]);
        if (length < 0 || (size_t)length >= sizeof(names) - names_used)
            return PMIX_ERR_BAD_PARAM;
        names_used += (size_t)length;
        length = snprintf(ranks + ranks_used, sizeof(ranks) - ranks_used, "%s%" PRIu32,
                          i ? ";" : "", i);
        ranks_used += (size_t)length;
    }
    char *node_map = NULL;
    char *proc_map = NULL;
    pmix_status_t result = PMIx_generate_regex(names, &node_map);
    if (result == PMIX_SUCCESS)
        result = PMIx_generate_ppn(ranks, &proc_map);
    if (result == PMIX_SUCCESS) {
        info_add(list, PMIX_NODE_MAP, node_map, PMIX_REGEX);
        info_add(list, PMIX_PROC_MAP, proc_map, PMIX_REGEX);
    }
    memory_free(node_map);
    memory_free(proc_map);
    return result;
}

static void info_add_rank(struct info_list *list, const struct pmix_host_options *options,
                          uint32_t rank, const char *rank_directory)
{
    uint16_t zero = 0;
    pmix_rank_t leader = 0;
    pmix_rank_t number = rank;
    struct info_list row = {.count = 0};
    info_add(&row, PMIX_RANK, &number, PMIX_PROC_RANK); /* must be the first */
    info_add(&row, PMIX_APPLDR, &leader, PMIX_PROC_RANK);
    info_add(&row, PMIX_GLOBAL_RANK, &number, PMIX_PROC_RANK);
    info_add(&row, PMIX_APP_RANK, &number, PMIX_PROC_RANK);
    info_add_u32(&row, PMIX_APPNUM, 0);
    info_add(&row, PMIX_LOCAL_RANK, &zero, PMIX_UINT16);
    info_add(&row, PMIX_NODE_RANK, &zero, PMIX_UINT16);
    info_add_u32(&row, PMIX_NODEID, rank);
    info_add(&row, PMIX_HOSTNAME, options->nodes[rank], PMIX_STRING);
    if (rank == options->rank)
        info_add(&row, PMIX_PROCDIR, rank_directory, PMIX_STRING);
    pmix_data_array_t array = {.type = PMIX_INFO, .size = row.count, .array = row.items};
    info_add(list, PMIX_PROC_INFO_ARRAY, &array, PMIX_DATA_ARRAY);
    info_fini(&row);
}

static pmix_status_t info_add_job(struct info_list *list, struct pmix_host *host,
                                  const struct pmix_host_options *options,
                                  const char *space_directory)
{
    bool yes = true;
    uint32_t ranks = options->rank_count;
    pmix_rank_t local = options->rank;
    char peers[16];
    (void)snprintf(peers, sizeof(peers), "%" PRIu32, options->rank);
    info_add(list, PMIX_JOBID, host->name, PMIX_STRING);
    info_add_u32(list, PMIX_UNIV_SIZE, ranks);
    info_add_u32(list, PMIX_JOB_SIZE, ranks);
    info_add_u32(list, PMIX_MAX_PROCS, ranks);
    info_add_u32(list, PMIX_JOB_NUM_APPS, 1);
    info_add_u32(list, PMIX_NUM_NODES, ranks);
    info_add(list, PMIX_TMPDIR, host->directory.path, PMIX_STRING);
    info_add(list, PMIX_NSDIR, space_directory, PMIX_STRING);
    info_add(list, PMIX_TDIR_RMCLEAN, &yes, PMIX_BOOL);
    info_add_u32(list, PMIX_NODEID, options->rank);
    info_add_u32(list, PMIX_LOCAL_SIZE, 1);
    info_add_u32(list, PMIX_NODE_SIZE, 1);
    info_add(list, PMIX_LOCAL_PEERS, peers, PMIX_STRING);
    info_add(list, PMIX_LOCALLDR, &local, PMIX_PROC_RANK);
    return info_add_maps(list, options);
}

static pmix_status_t register_namespace(struct pmix_host *host,
                                        const struct pmix_host_options *options)
{
    char space_directory[PATH_MAX + 16];
    char rank_directory[PATH_MAX + 32];
    (void)snprintf(space_directory, sizeof(space_directory), "%s/space", host->directory.path);
    (void)snprintf(rank_directory, sizeof(rank_directory), "%s/rank", space_directory);
    if (mkdir(space_directory, 0700) != 0 || mkdir(rank_directory, 0700) != 0)
        return PMIX_ERR_NO_PERMISSIONS;
    size_t count = 0;
    pmix_info_t *all = memory_zeroed(32 + (size_t)options->rank_count, sizeof(*all));
    if (!all)
        return PMIX_ERR_NOMEM;
    struct info_list job = {.count = 0};
    pmix_status_t result = info_add_job(&job, host, options, space_directory);
    memcpy(all, job.items, job.count * sizeof(*all));
    count = job.count;
    for (uint32_t i = 0; i < options->rank_count; i++) {
        struct info_list one = {.count = 0};
        info_add_rank(&one, options, i, rank_directory);
        all[count++] = one.items[0];
    }
    if (result == PMIX_SUCCESS) {
        struct operation wait;
        pmix_status_t started = PMIx_server_register_nspace(host->name, 1, all, count,
                                                            on_operation, operation_begin(&wait));
        result = operation_wait(&wait, started);
    }
    for (size_t i = 0; i < count; i++)
        PMIX_INFO_DESTRUCT(&all[i]);
    memory_free(all);
    return result;
}

static pmix_status_t register_rank(struct pmix_host *host)
{
    struct operation wait;
    pmix_status_t started = PMIx_server_setup_local_support(host->name, NULL, 0, on_operation,
                                                            operation_begin(&wait));
    pmix_status_t result = operation_wait(&wait, started);
    if (result != PMIX_SUCCESS)
        return result;
    pmix_proc_t proc;
    PMIX_LOAD_PROCID(&proc, host->name, host->rank);
    started = PMIx_server_register_client(&proc, getuid(), getgid(), host, on_operation,
                                          operation_begin(&wait));
    return operation_wait(&wait, started);
}

static pmix_status_t server_start(struct pmix_host *host,
                                  const struct pmix_host_options *options)
{
    /* Job data by message instead of by files mapped from disk; the others as in
     * rank_environment.c. */
    if (setenv("PMIX_MCA_gds", "hash", 1) != 0 || setenv("HWLOC_HIDE_ERRORS", "2", 0) != 0 ||
        setenv("HWLOC_PLUGINS_PATH", "/nonexistent", 1) != 0)
        return PMIX_ERR_NOMEM;
    char server_name[PMIX_MAX_NSLEN + 1];
    (void)snprintf(server_name, sizeof(server_name), "%.200s.server", host->name);
    bool no = false;
    pmix_rank_t node = options->rank;
    struct info_list list = {.count = 0};
    info_add(&list, PMIX_SERVER_TMPDIR, host->directory.path, PMIX_STRING);
    info_add(&list, PMIX_SYSTEM_TMPDIR, host->directory.path, PMIX_STRING);
    info_add(&list, PMIX_SERVER_NSPACE, server_name, PMIX_STRING);
    info_add(&list, PMIX_SERVER_RANK, &node, PMIX_PROC_RANK);
    info_add(&list, PMIX_HOSTNAME, options->nodes[options->rank], PMIX_STRING);
    info_add(&list, PMIX_SERVER_TOOL_SUPPORT, &no, PMIX_BOOL);
    pmix_status_t result = PMIx_server_init(&upcalls, list.items, list.count);
    info_fini(&list);
    return result;
}

/* ---- the host ---- */

static enum status check_options(const struct pmix_host_options *options, struct reason *reason)
{
    if (the_host)
        return refuse(reason, STATUS_EXISTS, "this process runs a PMIx server already");
    if (options->rank_count < 2 || options->rank_count > FENCE_RANKS_MAX ||
        options->rank >= options->rank_count)
        return refuse(reason, STATUS_INVALID, "rank %" PRIu32 " of %" PRIu32
                      " is not a world of 2 to %d ranks",
                      options->rank, options->rank_count, FENCE_RANKS_MAX);
    size_t size = strlen(options->name);
    if (size == 0 || size > 128 ||
        strspn(options->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "0123456789-.") != size)
        return refuse(reason, STATUS_INVALID, "the generation's name is not of letters, digits,"
                      " '-' and '.', or has more than 128 of them");
    for (uint32_t i = 0; i < options->rank_count; i++)
        if (strcspn(options->nodes[i], ",;[] ") != strlen(options->nodes[i]) ||
            options->nodes[i][0] == '\0')
            return refuse(reason, STATUS_INVALID, "node %" PRIu32 " has no usable name", i);
    return STATUS_OK;
}

enum status pmix_host_open(const struct pmix_host_options *options, struct pmix_host **host_out,
                           struct reason *reason)
{
    enum status status = check_options(options, reason);
    if (status != STATUS_OK)
        return status;
    struct pmix_host *host = memory_zeroed(1, sizeof(*host));
    if (!host)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a PMIx server");
    host->directory.lock = -1;
    host->descriptor = -1;
    host->rank = options->rank;
    host->rank_count = options->rank_count;
    (void)snprintf(host->name, sizeof(host->name), "%s", options->name);
    ASSERT(pthread_mutex_init(&host->mutex, NULL) == 0);
    status = launch_directory_open(options->directory, &host->directory, reason);
    if (status == STATUS_OK)
        status = fence_table_open(options->rank_count, &host->fences);
    if (status != STATUS_OK)
        goto fail;
    host->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (host->descriptor < 0) {
        status = refuse(reason, status_from_errno(errno), "cannot make an event descriptor");
        goto fail;
    }
    the_host = host;
    pmix_status_t result = server_start(host, options);
    if (result == PMIX_SUCCESS) {
        host->registered = true;
        result = register_namespace(host, options);
    }
    if (result == PMIX_SUCCESS)
        result = register_rank(host);
    if (result != PMIX_SUCCESS) {
        status = refuse(reason, STATUS_IO, "the PMIx server of %s does not start: %s",
                        options->name, PMIx_Error_string(result));
        goto fail;
    }
    *host_out = host;
    return STATUS_OK;
fail:
    pmix_host_close(host);
    return status;
}

int pmix_host_descriptor(const struct pmix_host *host)
{
    return host->descriptor;
}

void pmix_host_event_fini(struct pmix_host_event *event)
{
    memory_free(event->bytes);
    event->bytes = NULL;
}

static void release_bytes(void *bytes)
{
    memory_free(bytes);
}

/* Hands `bytes` to libpmix, which frees them. */
static void pending_answer(struct pmix_host *host, struct pending *pending, pmix_status_t result,
                           void *bytes, size_t size)
{
    (void)pthread_mutex_lock(&host->mutex);
    pmix_modex_cbfunc_t answer = pending->answer;
    void *context = pending->answer_context;
    *pending = (struct pending){.used = false};
    (void)pthread_mutex_unlock(&host->mutex);
    answer(result, bytes, size, context, release_bytes, bytes);
}

static struct pending *pending_find(struct pmix_host *host, uint64_t request)
{
    struct pending *found = NULL;
    (void)pthread_mutex_lock(&host->mutex);
    for (size_t i = 0; i < PENDING_MAX && !found; i++)
        if (host->pending[i].used && host->pending[i].request == request)
            found = &host->pending[i];
    (void)pthread_mutex_unlock(&host->mutex);
    return found;
}

static void fence_finish_if_whole(struct pmix_host *host, const char *signature,
                                  uint64_t sequence)
{
    struct pending *pending = NULL;
    (void)pthread_mutex_lock(&host->mutex);
    for (size_t i = 0; i < PENDING_MAX && !pending; i++)
        if (host->pending[i].used && host->pending[i].is_fence &&
            host->pending[i].sequence == sequence &&
            strcmp(host->pending[i].signature, signature) == 0)
            pending = &host->pending[i];
    (void)pthread_mutex_unlock(&host->mutex);
    void *bytes = NULL;
    size_t size = 0;
    if (pending && fence_table_take(host->fences, signature, sequence, &bytes, &size))
        pending_answer(host, pending, PMIX_SUCCESS, bytes, size);
}

/* The number of this fence among those of its signature, from 1. */
static bool sequence_take(struct pmix_host *host, const char *signature, uint64_t *sequence_out)
{
    for (size_t i = 0; i < PENDING_MAX; i++) {
        struct signature_count *count = &host->counts[i];
        if (count->sequence_next == 0) {
            (void)snprintf(count->signature, sizeof(count->signature), "%s", signature);
            count->sequence_next = 1;
        }
        if (strcmp(count->signature, signature) == 0) {
            *sequence_out = count->sequence_next++;
            return true;
        }
    }
    return false;
}

/* The loop takes the own rank's fence: it is numbered and its blob joins the others'. */
static void fence_enter(struct pmix_host *host, struct pmix_host_event *event)
{
    struct pending *pending = pending_find(host, event->request);
    ASSERT(pending != NULL);
    event->status = STATUS_TOO_LARGE;
    if (!sequence_take(host, event->signature, &event->sequence))
        return;
    (void)pthread_mutex_lock(&host->mutex);
    pending->sequence = event->sequence;
    memcpy(pending->signature, event->signature, sizeof(pending->signature));
    (void)pthread_mutex_unlock(&host->mutex);
    event->status = fence_table_add(host->fences, event->signature, event->sequence, host->rank,
                                    event->bytes, event->size, NULL);
    if (event->status == STATUS_OK)
        fence_finish_if_whole(host, event->signature, event->sequence);
}

bool pmix_host_next(struct pmix_host *host, struct pmix_host_event *event_out)
{
    (void)pthread_mutex_lock(&host->mutex);
    struct queued *queued = host->first;
    if (queued) {
        host->first = queued->next;
        if (!host->first)
            host->last = NULL;
    } else {
        eventfd_t count;
        (void)eventfd_read(host->descriptor, &count);
    }
    (void)pthread_mutex_unlock(&host->mutex);
    if (!queued)
        return false;
    *event_out = queued->event;
    memory_free(queued);
    if (event_out->kind == PMIX_HOST_FENCE)
        fence_enter(host, event_out);
    return true;
}

enum status pmix_host_fence(struct pmix_host *host, uint32_t rank, const char *signature,
                            uint64_t sequence, const void *bytes, size_t size,
                            struct reason *reason)
{
    if (rank == host->rank)
        return refuse(reason, STATUS_INVALID, "a sibling sent a fence blob in our own name");
    enum status status =
        fence_table_add(host->fences, signature, sequence, rank, bytes, size, reason);
    if (status == STATUS_OK)
        fence_finish_if_whole(host, signature, sequence);
    return status;
}

/* ---- direct modex: only when Open MPI is told to collect no data in its fence ---- */

struct lookup {
    uint32_t asking_rank;
    uint64_t request;
};

static void on_lookup(pmix_status_t result, char *bytes, size_t size, void *context)
{
    struct lookup *lookup = context;
    struct pmix_host_event event = {.kind = PMIX_HOST_MODEX_FOUND,
                                    .rank = lookup->asking_rank,
                                    .request = lookup->request,
                                    .status = STATUS_NOT_FOUND};
    memory_free(lookup);
    if (result == PMIX_SUCCESS && size <= FENCE_BLOB_SIZE_MAX) {
        event.bytes = memory_copied(bytes, size);
        event.size = event.bytes ? size : 0;
        event.status = event.bytes ? STATUS_OK : STATUS_NO_MEMORY;
    }
    (void)queue_event(the_host, event);
}

void pmix_host_modex_lookup(struct pmix_host *host, uint32_t asking_rank, uint64_t request)
{
    struct lookup *lookup = memory_zeroed(1, sizeof(*lookup));
    if (!lookup)
        return; /* the asking rank's watchdog ends the generation */
    *lookup = (struct lookup){asking_rank, request};
    pmix_proc_t proc;
    PMIX_LOAD_PROCID(&proc, host->name, host->rank);
    pmix_status_t result = PMIx_server_dmodex_request(&proc, on_lookup, lookup);
    if (result != PMIX_SUCCESS)
        on_lookup(result, NULL, 0, lookup);
}

void pmix_host_modex_answer(struct pmix_host *host, uint64_t request, enum status status,
                            const void *bytes, size_t size)
{
    struct pending *pending = pending_find(host, request);
    if (!pending || pending->is_fence)
        return;
    void *copy = status == STATUS_OK ? memory_copied(bytes, size) : NULL;
    pending_answer(host, pending, copy ? PMIX_SUCCESS : PMIX_ERR_NOT_FOUND, copy,
                   copy ? size : 0);
}

enum status pmix_host_environment(struct pmix_host *host, const struct pmix_host_fabric *fabric,
                                  char *const *base, char ***environment_out,
                                  struct reason *reason)
{
    char **environment = NULL;
    enum status status = rank_environment_open(
        base,
        &(struct rank_network){fabric->address, fabric->port_first, fabric->port_count,
                               fabric->rdma, fabric->ways},
        &environment, reason);
    if (status != STATUS_OK)
        return status;
    pmix_proc_t proc;
    PMIX_LOAD_PROCID(&proc, host->name, host->rank);
    pmix_status_t result = PMIx_server_setup_fork(&proc, &environment);
    if (result != PMIX_SUCCESS) {
        rank_environment_free(environment);
        return refuse(reason, STATUS_IO, "libpmix makes no environment for rank %" PRIu32 ": %s",
                      host->rank, PMIx_Error_string(result));
    }
    *environment_out = environment;
    return STATUS_OK;
}

void pmix_host_environment_free(char **environment)
{
    rank_environment_free(environment);
}

void pmix_host_close(struct pmix_host *host)
{
    if (!host)
        return;
    if (host->registered) {
        /* The rank is dead: an error reaches nobody, it only frees what libpmix keeps. */
        for (size_t i = 0; i < PENDING_MAX; i++)
            if (host->pending[i].used)
                pending_answer(host, &host->pending[i], PMIX_ERR_LOST_CONNECTION, NULL, 0);
        struct operation wait;
        PMIx_server_deregister_nspace(host->name, on_operation, operation_begin(&wait));
        (void)operation_wait(&wait, PMIX_SUCCESS);
        (void)PMIx_server_finalize();
    }
    if (the_host == host)
        the_host = NULL;
    struct pmix_host_event event;
    while (host->first) {
        struct queued *queued = host->first;
        event = queued->event;
        host->first = queued->next;
        pmix_host_event_fini(&event);
        memory_free(queued);
    }
    fence_table_close(host->fences);
    launch_directory_close(&host->directory);
    if (host->descriptor >= 0)
        (void)close(host->descriptor);
    (void)pthread_mutex_destroy(&host->mutex);
    memory_free(host);
}
