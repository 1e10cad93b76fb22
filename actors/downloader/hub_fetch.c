/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_fetch.h"

#include "actors/downloader/hub_address.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 10000L
#define RECEIVE_SIZE (256L << 10)
#define SPEED_LEAST 512L /* bytes a second over SPEED_WINDOW_S; below it it ends */
#define SPEED_WINDOW_S 30L
#define PAGE_SIZE_MAX ((uint64_t)64 << 10) /* of an error; so much is read and thrown away */
#define REQUESTS_MAX 64

#ifndef SOCK_CLOEXEC /* macOS; nothing is started by a downloader */
#define SOCK_CLOEXEC 0
#endif

struct hub_question_running {
    struct hub_fetch *fetch;
    CURL *curl;
    struct curl_slist *headers;
    struct hub_request request;
    struct hub_head head;
    uint64_t body_size;
    bool is_head_told;
    bool is_refused_address;
    bool is_too_large;
    bool is_long_page; /* about an error: the rest is not read */
    uint64_t heard_ms; /* when something came */
    bool is_ended_by_asker;
    char authority[300];
    char error[CURL_ERROR_SIZE];
};

struct hub_fetch {
    CURLM *multi;
    struct hub_question_running *running[REQUESTS_MAX];
    bool endpoint_is_local;
};

enum status hub_fetch_library_open(struct reason *reason)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return refuse(reason, STATUS_INTERNAL, "libcurl cannot be initialised");
    return STATUS_OK;
}

void hub_fetch_library_close(void)
{
    curl_global_cleanup();
}

enum status hub_fetch_open(struct hub_fetch **fetch_out, struct reason *reason)
{
    struct hub_fetch *fetch = memory_zeroed(1, sizeof(*fetch));
    if (fetch)
        fetch->multi = curl_multi_init();
    if (!fetch || !fetch->multi) {
        memory_free(fetch);
        return refuse(reason, STATUS_NO_MEMORY, "no memory to ask the hub");
    }
    *fetch_out = fetch;
    return STATUS_OK;
}

void hub_fetch_cancel(struct hub_fetch *fetch, struct hub_question_running *running)
{
    if (!running)
        return;
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        if (fetch->running[i] == running)
            fetch->running[i] = NULL;
    if (running->curl) {
        (void)curl_multi_remove_handle(fetch->multi, running->curl);
        curl_easy_cleanup(running->curl);
    }
    for (struct curl_slist *line = running->headers; line; line = line->next)
        if (strncmp(line->data, "Authorization", 13) == 0)
            explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(running->headers);
    memory_free(running);
}

void hub_fetch_close(struct hub_fetch *fetch)
{
    if (!fetch)
        return;
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        hub_fetch_cancel(fetch, fetch->running[i]);
    (void)curl_multi_cleanup(fetch->multi);
    memory_free(fetch);
}

/* ---- what the library calls ---- */

static curl_socket_t open_socket(void *who, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct hub_question_running *running = who;
    const bool is_global = hub_address_is_global(&address->addr, address->addrlen);
    if (purpose == CURLSOCKTYPE_IPCXN && running->request.is_endpoint && !is_global)
        running->fetch->endpoint_is_local = true;
    if (!is_global && !running->fetch->endpoint_is_local) {
        running->is_refused_address = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* False when who asked wants no more. */
static bool tell_head(struct hub_question_running *running)
{
    if (running->is_head_told)
        return true;
    running->is_head_told = true;
    hub_head_came_at(&running->head, clock_wall_ms() / 1000);
    if (running->request.head(running->request.who, &running->head))
        return true;
    running->is_ended_by_asker = true;
    return false;
}

static size_t take_line(char *line, size_t size, size_t count, void *who)
{
    struct hub_question_running *running = who;
    running->heard_ms = clock_now_ms();
    hub_head_line(&running->head, line, size * count);
    const bool is_end =
        (size * count == 2 && line[0] == '\r') || (size * count == 1 && line[0] == '\n');
    if (is_end && running->head.status >= 200 && !tell_head(running))
        return 0;
    return size * count;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *who)
{
    struct hub_question_running *running = who;
    const size_t length = size * count;
    if (!tell_head(running))
        return 0;
    running->heard_ms = clock_now_ms();
    running->body_size += length;
    if (running->head.status < 200 || running->head.status > 299) {
        running->is_long_page = running->body_size > PAGE_SIZE_MAX;
        return running->is_long_page ? 0 : length; /* a page about an error is no file */
    }
    if (running->body_size > running->request.body_size_max) {
        running->is_too_large = true;
        return 0;
    }
    if (!running->request.body(running->request.who, (const uint8_t *)bytes, length)) {
        running->is_ended_by_asker = true;
        return 0;
    }
    return length;
}

/* ---- starting ---- */

static bool add_header(struct hub_question_running *running, const char *name, const char *value)
{
    char line[HUB_URL_SIZE];
    const int length = snprintf(line, sizeof(line), "%s: %s", name, value);
    struct curl_slist *longer = NULL;
    if (length > 0 && (size_t)length < sizeof(line))
        longer = curl_slist_append(running->headers, line);
    explicit_bzero(line, sizeof(line));
    if (longer)
        running->headers = longer;
    return longer != NULL;
}

static bool add_headers(struct hub_question_running *running, const struct hub_request *request)
{
    char range[64];
    char token[HUB_URL_SIZE];
    bool ok = add_header(running, "Accept-Encoding", "identity");
    if (ok && request->token && request->token[0]) {
        (void)snprintf(token, sizeof(token), "Bearer %s", request->token);
        ok = add_header(running, "Authorization", token);
        explicit_bzero(token, sizeof(token));
    }
    if (!ok)
        return false;
    if (!request->has_range)
        return true;
    (void)snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, request->range_first,
                   request->range_end - 1);
    if (request->if_range && request->if_range[0] &&
        !add_header(running, "If-Range", request->if_range))
        return false;
    return add_header(running, "Range", range);
}

/* libcurl reads http_proxy, all_proxy, https_proxy and no_proxy itself, the last three in capitals
 * too.  HTTP_PROXY it leaves out, because a web server puts a client's header of that name there;
 * other clients of the hub take it, and nobody starts this process for a request. */
static const char *proxy_in_capitals(const struct hub_url *url)
{
    const char *proxy = getenv("HTTP_PROXY");
    return proxy && *proxy && !getenv("http_proxy") && !getenv("REQUEST_METHOD") &&
                   strncmp(url->text, "http://", 7) == 0
               ? proxy
               : NULL;
}

static bool set_options(struct hub_question_running *running)
{
    CURL *curl = running->curl;
    const struct hub_request *request = &running->request;
    CURLcode failed = CURLE_OK;
#define SET(option, value) failed = failed ? failed : curl_easy_setopt(curl, option, value)
    SET(CURLOPT_URL, request->url->text);
    SET(CURLOPT_HTTPHEADER, running->headers);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    /* Ranges shall go over connections of their own, not share one. */
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_USERAGENT, "troupe");
    SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    SET(CURLOPT_LOW_SPEED_LIMIT, SPEED_LEAST);
    SET(CURLOPT_LOW_SPEED_TIME, SPEED_WINDOW_S);
    SET(CURLOPT_BUFFERSIZE, RECEIVE_SIZE);
    SET(CURLOPT_HEADERFUNCTION, take_line);
    SET(CURLOPT_HEADERDATA, running);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, running);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, running);
    SET(CURLOPT_ERRORBUFFER, running->error);
    SET(CURLOPT_PRIVATE, running);
    if (request->ca_file && request->ca_file[0])
        SET(CURLOPT_CAINFO, request->ca_file);
    if (proxy_in_capitals(request->url))
        SET(CURLOPT_PROXY, proxy_in_capitals(request->url));
#undef SET
    return failed == CURLE_OK;
}

enum status hub_fetch_start(struct hub_fetch *fetch, const struct hub_request *request,
                            struct hub_question_running **running_out, struct reason *reason)
{
    size_t slot = 0;
    while (slot < REQUESTS_MAX && fetch->running[slot])
        slot++;
    if (slot == REQUESTS_MAX)
        return refuse(reason, STATUS_BUSY, "too many questions to the hub at once");
    struct hub_question_running *running = memory_zeroed(1, sizeof(*running));
    if (!running)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to ask the hub");
    running->fetch = fetch;
    running->request = *request;
    running->heard_ms = clock_now_ms();
    hub_head_init(&running->head);
    hub_url_authority(request->url, running->authority, sizeof(running->authority));
    fetch->running[slot] = running;
    running->curl = curl_easy_init();
    if (!running->curl || !add_headers(running, request) || !set_options(running) ||
        curl_multi_add_handle(fetch->multi, running->curl) != CURLM_OK) {
        hub_fetch_cancel(fetch, running);
        return refuse(reason, STATUS_NO_MEMORY, "the hub cannot be asked: libcurl has no memory");
    }
    /* The library has copied the texts. */
    running->request.url = NULL;
    running->request.token = running->request.if_range = running->request.ca_file = NULL;
    *running_out = running;
    return STATUS_OK;
}

/* ---- ends ---- */

static enum status judge(const struct hub_question_running *running, CURLcode code,
                         struct reason *reason)
{
    const char *host = running->authority;
    const char *error = running->error[0] ? running->error : curl_easy_strerror(code);
    if (running->is_ended_by_asker)
        return refuse(reason, STATUS_CANCELLED, "%s", "");
    if (running->is_long_page)
        return STATUS_OK;
    if (running->is_too_large)
        return refuse(reason, STATUS_TOO_LARGE, "%s sends more bytes than were asked for", host);
    if (running->is_refused_address)
        return refuse(reason, STATUS_REFUSED,
                      "the hub sends us to %s, a machine of a private network; it is not asked",
                      host);
    if (running->head.is_malformed)
        return refuse(reason, STATUS_MALFORMED, "%s answers with a head that cannot be read", host);
    switch ((int)code) {
    case CURLE_OK:
        return STATUS_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return refuse(reason, STATUS_TIMED_OUT, "%s is silent: %.200s", host, error);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        return refuse(reason, STATUS_UNREACHABLE, "%s cannot be reached: %.200s", host, error);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return refuse(reason, STATUS_REFUSED, "%s has no certificate this machine trusts: %.200s",
                      host, error);
    case CURLE_OUT_OF_MEMORY:
        return refuse(reason, STATUS_NO_MEMORY, "libcurl has no memory");
    default:
        return refuse(reason, STATUS_IO, "the connection to %s was cut: %.200s", host, error);
    }
}

/* True: some question has its answer. */
static bool take_ends(struct hub_fetch *fetch)
{
    CURLMsg *message;
    int left = 0;
    bool has_ended = false;
    while ((message = curl_multi_info_read(fetch->multi, &left))) {
        char *owner = NULL;
        struct reason reason = {""};
        if (message->msg != CURLMSG_DONE)
            continue;
        const CURLcode code = message->data.result;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner);
        struct hub_question_running *running = (struct hub_question_running *)(void *)owner;
        enum status status = judge(running, code, &reason);
        if (status == STATUS_OK && !tell_head(running))
            status = STATUS_CANCELLED;
        const struct hub_request request = running->request;
        const struct hub_head head = running->head;
        hub_fetch_cancel(fetch, running);
        request.done(request.who, status, &head, &reason);
        has_ended = true;
    }
    return has_ended;
}

/* Those that are silent for longer than they may; the library's own limit works by averages. */
static bool end_silent(struct hub_fetch *fetch)
{
    const uint64_t now_ms = clock_now_ms();
    bool has_ended = false;
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        struct hub_question_running *running = fetch->running[i];
        struct reason reason = {""};
        if (!running || now_ms - running->heard_ms < running->request.silent_ms)
            continue;
        (void)refuse(&reason, STATUS_TIMED_OUT, "%s is silent for %" PRIu64 " ms",
                     running->authority, now_ms - running->heard_ms);
        const struct hub_request request = running->request;
        const struct hub_head head = running->head;
        hub_fetch_cancel(fetch, running);
        request.done(request.who, STATUS_TIMED_OUT, &head, &reason);
        has_ended = true;
    }
    return has_ended;
}

enum status hub_fetch_wait(struct hub_fetch *fetch, uint32_t timeout_ms, struct reason *reason)
{
    int running = 0;
    CURLMcode code = curl_multi_perform(fetch->multi, &running);
    const bool has_ended = take_ends(fetch) || end_silent(fetch);
    if (code == CURLM_OK && !has_ended && timeout_ms > 0)
        code = curl_multi_poll(fetch->multi, NULL, 0, (int)timeout_ms, NULL);
    if (code == CURLM_OK && !has_ended) {
        code = curl_multi_perform(fetch->multi, &running);
        (void)take_ends(fetch);
    }
    if (code != CURLM_OK)
        return refuse(reason, code == CURLM_OUT_OF_MEMORY ? STATUS_NO_MEMORY : STATUS_IO,
                      "libcurl: %s", curl_multi_strerror(code));
    return STATUS_OK;
}
