/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_pull.h"

#include "protocol/memory.h"
#include "runtime/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_SIZE_MAX ((size_t)4 << 20)
#define STANDARD_REVISION "main"
#define LEDGER_END ".ledger"
#define PLAN_TURN_MS 20u
#define FETCH_SMALL 1u
#define FETCH_WEIGHTS 2u

struct job {
    const struct hub_pull *pull;
    struct hub_session session;
    struct hub_place place;
    struct hub_tree tree;
    struct hub_download download;
    struct hub_plan plan;
    bool is_elsewhere; /* nothing is to be fetched */
    char commit[HUB_COMMIT_SIZE];
};

static bool never(void *who)
{
    (void)who;
    return false;
}

/* ---- what the hub has ---- */

static enum status ask_commit(struct job *job, struct reason *reason)
{
    struct hub_url url;
    struct buffer answer;
    buffer_init(&answer, ANSWER_SIZE_MAX);
    enum status status = hub_url_of_revision(&job->session.env->endpoint, job->pull->model_id,
                                             job->session.revision, &url, reason);
    if (status == STATUS_OK)
        status = hub_ask(&job->session, &url, &answer, NULL, reason);
    if (status == STATUS_OK)
        status = hub_revision_commit((const char *)answer.bytes, answer.size, job->commit, reason);
    buffer_fini(&answer);
    return status;
}

static enum status ask_tree(struct job *job, struct reason *reason)
{
    struct hub_url url;
    struct hub_url next;
    struct buffer answer;
    buffer_init(&answer, HUB_TREE_PAGE_SIZE_MAX);
    enum status status = hub_url_of_tree(&job->session.env->endpoint, job->pull->model_id,
                                         job->commit, &url, reason);
    for (uint32_t pages = 1; status == STATUS_OK; pages++) {
        if (pages > HUB_TREE_PAGES_MAX)
            status = refuse(reason, STATUS_TOO_LARGE, "%s lists its files on more than %u pages",
                            job->pull->model_id, HUB_TREE_PAGES_MAX);
        if (status == STATUS_OK)
            status = hub_ask(&job->session, &url, &answer, &next, reason);
        if (status == STATUS_OK)
            status = hub_tree_page(&job->tree, (const char *)answer.bytes, answer.size, reason);
        if (status != STATUS_OK || !next.text[0])
            break;
        url = next;
    }
    buffer_fini(&answer);
    return status == STATUS_OK ? hub_tree_check(&job->tree, job->pull->model_id, reason) : status;
}

/* ---- fetching ---- */

static enum status read_blob(struct job *job, const struct hub_file *file, struct buffer *text,
                             struct reason *reason)
{
    uint64_t size = 0;
    int opened = -1;
    enum status status = hub_cache_blob_open(job->pull->cache, job->pull->model_id, file->etag,
                                             &opened, &size, reason);
    if (status != STATUS_OK)
        return status;
    status = buffer_reserve(text, (size_t)size + 1);
    while (status == STATUS_OK && text->size < size) {
        const ssize_t count = read(opened, text->bytes + text->size, (size_t)size - text->size);
        if (count <= 0)
            status = refuse(reason, STATUS_IO, "%s cannot be read", file->path);
        else
            text->size += (size_t)count;
    }
    (void)close(opened);
    return status;
}

static enum status choose_weights(struct job *job, struct reason *reason)
{
    const struct hub_file *index = hub_tree_find(&job->tree, HUB_INDEX_NAME);
    struct buffer text;
    if (!index)
        return STATUS_OK;
    if (index->size > HUB_INDEX_SIZE_MAX)
        return refuse(reason, STATUS_TOO_LARGE, HUB_INDEX_NAME " of %s is too large",
                      job->pull->model_id);
    buffer_init(&text, (size_t)HUB_INDEX_SIZE_MAX + 1);
    enum status status = read_blob(job, index, &text, reason);
    if (status == STATUS_OK)
        status = hub_tree_keep_weights(&job->tree, (const char *)text.bytes, text.size,
                                       job->pull->model_id, reason);
    buffer_fini(&text);
    return status;
}

static bool is_chosen(const struct hub_file *file, uint32_t which)
{
    return (which & (file->is_weight ? FETCH_WEIGHTS : FETCH_SMALL)) != 0;
}

static enum hub_blob state_of(const struct job *job, const struct hub_file *file)
{
    struct reason why;
    return hub_cache_blob_state(job->pull->cache, job->pull->model_id, file->etag, file->size,
                                &why);
}

struct lacking {
    uint64_t missing;   /* neither there nor set aside */
    uint64_t set_aside; /* for files that are partly there: on the disk, and no model's yet */
};

static struct lacking count_lacking(const struct job *job, uint32_t which)
{
    struct lacking lacking = {0, 0};
    for (uint32_t i = 0; i < job->tree.count; i++) {
        const struct hub_file *file = &job->tree.files[i];
        const enum hub_blob state = state_of(job, file);
        if (!is_chosen(file, which) || state == HUB_BLOB_WHOLE)
            continue;
        *(state == HUB_BLOB_PARTIAL ? &lacking.set_aside : &lacking.missing) += file->size;
    }
    return lacking;
}

/* In the quota, which counts what is partly there as well, and on the disk.  Then all of it is set
 * aside, as a few files are open at a time and others look for room meanwhile. */
static enum status take_room(const struct job *job, uint32_t which, struct reason *reason)
{
    const struct hub_pull *pull = job->pull;
    const struct lacking lacking = count_lacking(job, which);
    const uint64_t there = lacking.set_aside + job->download.bytes_before;
    enum status status = STATUS_OK;
    if (pull->make_room && lacking.missing + lacking.set_aside > 0)
        status = pull->make_room(pull->who, lacking.missing + there, there, reason);
    if (status == STATUS_OK)
        status = hub_cache_room_check(pull->cache, pull->model_id, NULL, lacking.missing, reason);
    for (uint32_t i = 0; i < job->tree.count && status == STATUS_OK; i++)
        if (is_chosen(&job->tree.files[i], which) && job->tree.files[i].is_weight &&
            state_of(job, &job->tree.files[i]) == HUB_BLOB_ABSENT)
            status = hub_incoming_set_aside(&job->tree.files[i], &job->place, reason);
    return status;
}

/* Files nothing came of: their room is others' again. */
static void give_room_back(const struct job *job, uint32_t which)
{
    for (uint32_t i = 0; i < job->tree.count; i++) {
        const struct hub_file *file = &job->tree.files[i];
        struct hub_incoming blob;
        struct reason why;
        if (is_chosen(file, which) && file->is_weight &&
            state_of(job, file) == HUB_BLOB_PARTIAL &&
            hub_incoming_open(&blob, file, &job->place, 0, &why) == STATUS_OK)
            hub_incoming_close(&blob);
    }
}

/* The small files first: what is wrong with a model shows before its weights are fetched. */
static enum status fetch(struct job *job, uint32_t which, struct reason *reason)
{
    struct hub_file *files = memory_zeroed(job->tree.count, sizeof(*files));
    uint32_t count = 0;
    if (!files)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to fetch %s", job->pull->model_id);
    job->download.bytes_total = hub_tree_bytes(&job->tree);
    job->download.bytes_before = 0;
    for (uint32_t pass = FETCH_SMALL; pass <= FETCH_WEIGHTS; pass++)
        for (uint32_t i = 0; i < job->tree.count; i++) {
            if (!is_chosen(&job->tree.files[i], pass))
                continue;
            if (which & pass)
                files[count++] = job->tree.files[i];
            else if (pass == FETCH_SMALL)
                job->download.bytes_before += job->tree.files[i].size;
        }
    enum status status = take_room(job, which, reason);
    if (status == STATUS_OK)
        status = hub_download_files(&job->download, files, count, reason);
    if (status != STATUS_OK)
        give_room_back(job, which);
    memory_free(files);
    return status;
}

/* Half a model is never seen as one: the links are made when every file is here, the ref last. */
static enum status show(struct job *job, struct reason *reason)
{
    const struct hub_pull *pull = job->pull;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < job->tree.count && status == STATUS_OK; i++)
        status = hub_cache_snapshot_link(pull->cache, pull->model_id, job->commit,
                                         job->tree.files[i].path, job->tree.files[i].etag, reason);
    if (status == STATUS_OK && strcmp(job->session.revision, job->commit) != 0)
        status = hub_cache_ref_set(pull->cache, pull->model_id, job->session.revision, job->commit,
                                   reason);
    return status;
}

static enum status refuse_offline(const struct hub_pull *pull, struct reason *reason)
{
    if (!pull->env->is_offline)
        return STATUS_OK;
    return refuse(
        reason, STATUS_UNREACHABLE,
        "%.100s is not whole in the cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE "
        "keeps this node from the hub; unset it and start the node again, or add a "
        "directory with troupe add",
        pull->model_id);
}

/* A name has one revision: another would take the place of the one an instance was placed with. */
static enum status check_commit(const struct job *job, struct reason *reason)
{
    const char *used = job->pull->commit_in_use;
    if (!used || !used[0] || strcmp(used, job->commit) == 0)
        return STATUS_OK;
    return refuse(reason, STATUS_EXISTS,
                  "an instance of %.100s exists at the commit %.8s, and %.60s is the commit %.8s "
                  "at the hub: end it with `troupe delete`, then pull again",
                  job->pull->model_id, used, job->session.revision, job->commit);
}

static bool look_elsewhere(struct job *job)
{
    const struct hub_pull *pull = job->pull;
    job->is_elsewhere =
        pull->is_elsewhere && pull->is_elsewhere(pull->who, job->commit, &job->tree);
    return job->is_elsewhere;
}

/* Which files, and the small ones of them. */
static enum status resolve(struct job *job, struct reason *reason)
{
    enum status status = refuse_offline(job->pull, reason);
    if (status == STATUS_OK)
        status = ask_commit(job, reason);
    if (status == STATUS_OK)
        status = check_commit(job, reason);
    if (status == STATUS_OK)
        status = ask_tree(job, reason);
    if (status == STATUS_OK && look_elsewhere(job))
        return STATUS_OK;
    if (status == STATUS_OK)
        status = fetch(job, FETCH_SMALL, reason);
    return status == STATUS_OK ? choose_weights(job, reason) : status;
}

static enum status run_alone(struct job *job, struct reason *reason)
{
    const struct hub_pull *pull = job->pull;
    enum status status = resolve(job, reason);
    /* Another node may be complete before this one: what is missing comes from there then. */
    if (status == STATUS_OK && pull->company && pull->resolved)
        pull->resolved(pull->who, job->commit, &job->tree);
    if (job->is_elsewhere)
        return status;
    job->download.company = pull->company;
    if (status == STATUS_OK)
        status = fetch(job, FETCH_WEIGHTS, reason);
    return status == STATUS_OK ? show(job, reason) : status;
}

/* ---- with others ---- */

/* The hub may give it to another node: one with a token, or with another way to it. */
static bool is_of_this_node(enum status status)
{
    return status == STATUS_NO_PERMISSION || status == STATUS_NOT_FOUND ||
           status == STATUS_UNREACHABLE || status == STATUS_TIMED_OUT || status == STATUS_BUSY ||
           status == STATUS_REFUSED;
}

static enum status next_plan(struct job *job, struct reason *reason)
{
    struct hub_session *session = &job->session;
    while (!hub_company_take(job->pull->company, &job->download.plan_version, &job->plan)) {
        if (session->is_cancelled(session->who))
            return refuse(reason, STATUS_CANCELLED, "the pull of %s was cancelled",
                          session->repository);
        clock_sleep_ms(PLAN_TURN_MS);
    }
    if (!job->plan.is_hopeless)
        return STATUS_OK;
    *reason = job->plan.reason;
    return job->plan.status != STATUS_OK ? job->plan.status : STATUS_UNREACHABLE;
}

/* Says it, and waits until the others know. */
static enum status step_back(struct job *job, enum status status, struct reason *reason)
{
    const struct hub_pull *pull = job->pull;
    if (!is_of_this_node(status) || !pull->hindered)
        return status;
    pull->hindered(pull->who, status, reason);
    do
        status = next_plan(job, reason);
    while (status == STATUS_OK && job->plan.is_shared && !job->plan.is_barred);
    return status;
}

/* OK: the plan has the list of files, or there are no others after all. */
static enum status settle(struct job *job, struct reason *reason)
{
    enum status status = next_plan(job, reason);
    bool was_asked = false;
    while (status == STATUS_OK && job->plan.is_shared && !job->plan.is_resolved) {
        if (!job->plan.asks_hub || was_asked) {
            status = next_plan(job, reason);
            continue;
        }
        was_asked = true;
        status = resolve(job, reason);
        if (status == STATUS_OK && job->pull->resolved)
            job->pull->resolved(job->pull->who, job->commit, &job->tree);
        if (status == STATUS_OK && job->is_elsewhere)
            return STATUS_OK;
        if (status != STATUS_OK || !job->pull->resolved)
            status = step_back(job, status, reason);
    }
    return status;
}

/* The list that the state has is what counts, whoever asked for it. */
static enum status take_list(struct job *job, struct reason *reason)
{
    enum status status = STATUS_OK;
    hub_tree_fini(&job->tree);
    hub_tree_init(&job->tree);
    if (!hub_commit_is_sound(job->plan.commit))
        return refuse(reason, STATUS_MALFORMED, "the download of %.100s names no commit",
                      job->pull->model_id);
    memcpy(job->commit, job->plan.commit, sizeof(job->commit));
    for (uint32_t i = 0; i < job->plan.count && status == STATUS_OK; i++)
        status = hub_tree_add(&job->tree, &job->plan.files[i].file, reason);
    return status == STATUS_OK ? hub_tree_check(&job->tree, job->pull->model_id, reason) : status;
}

static enum status run_shared(struct job *job, struct reason *reason)
{
    enum status status = settle(job, reason);
    if (status != STATUS_OK || job->is_elsewhere)
        return status;
    if (!job->plan.is_shared)
        return run_alone(job, reason);
    status = take_list(job, reason);
    if (status == STATUS_OK)
        status = check_commit(job, reason);
    if (status != STATUS_OK || look_elsewhere(job))
        return status;
    job->download.company = job->pull->company;
    job->download.placed = job->pull->placed;
    do {
        if (!job->plan.is_barred && job->pull->env->is_offline)
            status = step_back(job, refuse_offline(job->pull, reason), reason);
        if (status == STATUS_OK)
            status = fetch(job, FETCH_SMALL | FETCH_WEIGHTS, reason);
        if (status == STATUS_OK)
            return show(job, reason);
        status = job->plan.is_barred ? status : step_back(job, status, reason);
    } while (status == STATUS_OK);
    return status;
}

/* ---- the whole ---- */

static enum status pull_check(const struct hub_pull *pull, const char *revision,
                              struct reason *reason)
{
    if (!hub_repository_is_sound(pull->model_id))
        return refuse(reason, STATUS_INVALID, "%.100s is no name of a repository; give ORG/NAME",
                      pull->model_id);
    if (!hub_revision_is_sound(revision))
        return refuse(reason, STATUS_INVALID,
                      "%.100s is no revision; give a branch, a tag or a commit", revision);
    return STATUS_OK;
}

static enum status open_ledgers(struct job *job, struct reason *reason)
{
    job->place.ledgers = open(job->pull->ledgers, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (job->place.ledgers < 0)
        return refuse(reason, status_from_errno(errno), "%.300s: %s", job->pull->ledgers,
                      strerror(errno));
    return STATUS_OK;
}

/* The partial files whose ledgers lie here. */
static void drop_partials(const struct job *job)
{
    const struct hub_pull *pull = job->pull;
    DIR *entries = opendir(pull->ledgers);
    const struct dirent *entry;
    while (entries && (entry = readdir(entries))) {
        char etag[ETAG_SIZE];
        struct reason why;
        const size_t size = strlen(entry->d_name);
        if (size <= strlen(LEDGER_END) || size - strlen(LEDGER_END) >= sizeof(etag) ||
            strcmp(entry->d_name + size - strlen(LEDGER_END), LEDGER_END) != 0)
            continue;
        memcpy(etag, entry->d_name, size - strlen(LEDGER_END));
        etag[size - strlen(LEDGER_END)] = '\0';
        /* A ledger does not say whose it is; the partial file does. */
        if (hub_cache_blob_state(pull->cache, pull->model_id, etag, 0, &why) == HUB_BLOB_PARTIAL)
            hub_incoming_drop(&job->place, etag);
    }
    if (entries)
        (void)closedir(entries);
}

/* Of a pull nobody wants any more nothing stays but what other commits have. */
static void forget(const struct job *job)
{
    struct reason why;
    const char **etags = memory_zeroed(job->tree.count, sizeof(*etags));
    drop_partials(job);
    for (uint32_t i = 0; etags && i < job->tree.count; i++)
        etags[i] = job->tree.files[i].etag;
    if (etags && job->commit[0])
        (void)!hub_cache_snapshot_remove(job->pull->cache, job->pull->model_id, job->commit, etags,
                                         job->tree.count, &why);
    memory_free(etags);
}

enum status hub_pull_run(const struct hub_pull *pull, struct hub_pulled *pulled_out,
                         struct reason *reason)
{
    const char *revision = pull->revision && pull->revision[0] ? pull->revision : STANDARD_REVISION;
    enum status status = pull_check(pull, revision, reason);
    if (status != STATUS_OK)
        return status;
    struct job *job = memory_zeroed(1, sizeof(*job));
    if (!job)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to pull %s", pull->model_id);
    job->pull = pull;
    job->session =
        (struct hub_session){.env = pull->env,
                             .gates = pull->gates,
                             .repository = pull->model_id,
                             .revision = revision,
                             .tries_max = pull->tries_max,
                             .is_cancelled = pull->is_cancelled ? pull->is_cancelled : never,
                             .who = pull->who};
    job->place = (struct hub_place){pull->cache, pull->model_id, -1};
    job->download = (struct hub_download){.session = &job->session,
                                          .place = &job->place,
                                          .commit = job->commit,
                                          .connections = pull->connections,
                                          .plan = &job->plan,
                                          .progress = pull->progress,
                                          .who = pull->who};
    hub_tree_init(&job->tree);
    status = open_ledgers(job, reason);
    if (status == STATUS_OK)
        status = hub_session_open(&job->session, reason);
    if (status == STATUS_OK)
        status = pull->company ? run_shared(job, reason) : run_alone(job, reason);
    if (status == STATUS_OK) {
        memcpy(pulled_out->commit, job->commit, sizeof(job->commit));
        pulled_out->is_elsewhere = job->is_elsewhere;
        pulled_out->file_count = job->tree.count;
        pulled_out->passed_over = job->tree.passed_over;
        pulled_out->programs = job->tree.programs;
        pulled_out->bytes = hub_tree_bytes(&job->tree);
        pulled_out->counts = job->download.counts;
        pulled_out->known = job->download.known;
        pulled_out->known_count = job->download.known_count;
        job->download.known = NULL;
        job->download.known_count = 0;
    }
    if (status == STATUS_CANCELLED && pull->is_unwanted && pull->is_unwanted(pull->who))
        forget(job);
    hub_session_close(&job->session);
    if (job->place.ledgers >= 0)
        (void)close(job->place.ledgers);
    hub_tree_fini(&job->tree);
    hub_plan_fini(&job->plan);
    hub_known_free(job->download.known, job->download.known_count);
    memory_free(job);
    return status;
}
