/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_ROOM 2048
#define STANDARD_ENDPOINT "https://huggingface.co"
#define STANDARD_TIMEOUT_S 10.0
#define TIMEOUT_S_MAX 3600.0

bool hub_env_is_true(const char *value)
{
    static const char *const words[] = {"1", "ON", "YES", "TRUE"};
    for (size_t i = 0; value && i < COUNT_OF(words); i++)
        if (strcasecmp(value, words[i]) == 0)
            return true;
    return false;
}

void hub_env_wipe(struct hub_env *env)
{
    explicit_bzero(env->token, sizeof(env->token));
}

/* Without blanks around it; what could break a header line is no token. */
static enum status token_set(struct hub_env *env, const char *text, size_t size, const char *where,
                             struct reason *reason)
{
    while (size > 0 && strchr(" \t\r\n", text[size - 1]))
        size--;
    while (size > 0 && strchr(" \t\r\n", text[0])) {
        text++;
        size--;
    }
    if (size >= sizeof(env->token))
        return refuse(reason, STATUS_INVALID, "%.200s holds no token of a hub: it is too long",
                      where);
    for (size_t i = 0; i < size; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return refuse(reason, STATUS_INVALID,
                          "%.200s holds no token of a hub: a byte of it is no letter", where);
    memcpy(env->token, text, size);
    env->token[size] = '\0';
    return STATUS_OK;
}

static enum status token_read(struct hub_env *env, const char *path, bool must_exist,
                              struct reason *reason)
{
    char text[HUB_TOKEN_SIZE + 16];
    struct stat facts;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 && errno == ENOENT && !must_exist)
        return STATUS_OK;
    if (file < 0)
        return refuse(reason, status_from_errno(errno), "the token file %.200s: %s", path,
                      strerror(errno));
    enum status status = STATUS_OK;
    ssize_t size = -1;
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode))
        status = refuse(reason, STATUS_INVALID, "the token file %.200s is no file", path);
    else if (facts.st_mode & (S_IRWXG | S_IRWXO))
        status = refuse(reason, STATUS_NO_PERMISSION,
                        "others can read the token file %.200s; run chmod 600 on it, or set "
                        "HF_TOKEN",
                        path);
    else
        size = read(file, text, sizeof(text));
    if (status == STATUS_OK && size < 0)
        status = refuse(reason, status_from_errno(errno), "the token file %.200s: %s", path,
                        strerror(errno));
    if (status == STATUS_OK)
        status = token_set(env, text, (size_t)size, path, reason);
    explicit_bzero(text, sizeof(text));
    (void)close(file);
    return status;
}

static const char *set_or_null(const char *value)
{
    return value && *value ? value : NULL;
}

static enum status token_find(struct hub_env *env, const char *(*get)(const char *name),
                              struct reason *reason)
{
    char path[PATH_ROOM];
    int length;
    const char *token = set_or_null(get("HF_TOKEN"));
    const char *place = set_or_null(get("HF_TOKEN_PATH"));
    if (hub_env_is_true(get("HF_HUB_DISABLE_IMPLICIT_TOKEN")))
        return STATUS_OK;
    if (!token)
        token = set_or_null(get("HUGGING_FACE_HUB_TOKEN"));
    if (token)
        return token_set(env, token, strlen(token), "HF_TOKEN", reason);
    if (place)
        return token_read(env, place, true, reason);
    if ((place = set_or_null(get("HF_HOME"))))
        length = snprintf(path, sizeof(path), "%s/token", place);
    else if ((place = set_or_null(get("XDG_CACHE_HOME"))))
        length = snprintf(path, sizeof(path), "%s/huggingface/token", place);
    else if ((place = set_or_null(get("HOME"))))
        length = snprintf(path, sizeof(path), "%s/.cache/huggingface/token", place);
    else
        return STATUS_OK;
    if (length < 0 || (size_t)length >= sizeof(path))
        return refuse(reason, STATUS_INVALID, "%.200s: the path is too long for a token file",
                      place);
    return token_read(env, path, false, reason);
}

static enum status ca_file_find(struct hub_env *env, const char *(*get)(const char *name),
                                struct reason *reason)
{
    static const char *const names[] = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *path = set_or_null(get(names[i]));
        if (!path)
            continue;
        if (strlen(path) >= sizeof(env->ca_file))
            return refuse(reason, STATUS_INVALID, "%s is too long a path", names[i]);
        memcpy(env->ca_file, path, strlen(path) + 1);
        return STATUS_OK;
    }
    return STATUS_OK;
}

static enum status timeout_read(const char *(*get)(const char *name), const char *name,
                                uint32_t *timeout_ms_out, struct reason *reason)
{
    const char *text = set_or_null(get(name));
    char *end = NULL;
    const double seconds = text ? strtod(text, &end) : STANDARD_TIMEOUT_S;
    if (text && (*end != '\0' || !(seconds > 0) || seconds > TIMEOUT_S_MAX))
        return refuse(reason, STATUS_INVALID, "%s is %.40s; give seconds, above 0 and at most %.0f",
                      name, text, TIMEOUT_S_MAX);
    *timeout_ms_out = seconds < 0.1 ? 100 : (uint32_t)(seconds * 1000);
    return STATUS_OK;
}

enum status hub_env_read(struct hub_env *env_out, const char *(*get)(const char *name),
                         struct reason *reason)
{
    struct reason why = {""};
    memset(env_out, 0, sizeof(*env_out));
    const char *endpoint = set_or_null(get("HF_ENDPOINT"));
    enum status status =
        hub_url_parse(&env_out->endpoint, endpoint ? endpoint : STANDARD_ENDPOINT, &why);
    if (status != STATUS_OK)
        return refuse(reason, STATUS_INVALID, "HF_ENDPOINT: %s", why.text);
    hub_url_drop_slash(&env_out->endpoint);
    env_out->is_offline =
        hub_env_is_true(get("HF_HUB_OFFLINE")) || hub_env_is_true(get("TRANSFORMERS_OFFLINE"));
    status = timeout_read(get, "HF_HUB_ETAG_TIMEOUT", &env_out->answer_timeout_ms, reason);
    if (status == STATUS_OK)
        status =
            timeout_read(get, "HF_HUB_DOWNLOAD_TIMEOUT", &env_out->download_timeout_ms, reason);
    if (status == STATUS_OK)
        status = ca_file_find(env_out, get, reason);
    if (status == STATUS_OK)
        status = token_find(env_out, get, reason);
    return status;
}
