/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/hub_names.h"

#include "protocol/limits.h"
#include "protocol/schema.h"

#include <stdio.h>
#include <string.h>

#define MODEL_PREFIX "models--"
#define BLOB_NAME_MAX 128u

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '.' || c == '_' || c == '-';
}

bool model_id_is_sound(const char *model_id)
{
    size_t length = model_id ? strlen(model_id) : 0;
    if (length == 0 || length > NAME_SIZE_MAX || strstr(model_id, "--") ||
        strstr(model_id, "..") || model_id[length - 1] == '/')
        return false;
    for (size_t i = 0; i < length; i++) {
        const bool begins = i == 0 || model_id[i - 1] == '/';
        if (begins && (model_id[i] == '/' || model_id[i] == '.' || model_id[i] == '-'))
            return false;
        if (model_id[i] != '/' && !is_plain(model_id[i]))
            return false;
        if (model_id[i] == '-' && model_id[i + 1] == '/')
            return false;
    }
    return true;
}

enum status hub_model_name(const char *model_id, char name_out[HUB_NAME_SIZE],
                           struct reason *reason)
{
    size_t size = strlen(MODEL_PREFIX);
    _Static_assert(sizeof(MODEL_PREFIX) + 2 * NAME_SIZE_MAX < HUB_NAME_SIZE, "a name fits");
    if (!model_id_is_sound(model_id))
        return refuse(reason, STATUS_INVALID,
                      "%.100s is no name for a model; use letters, digits, . _ - and /, without "
                      "\"..\" or \"--\"", text_or_empty(model_id));
    memcpy(name_out, MODEL_PREFIX, size);
    for (const char *at = model_id; *at; at++) {
        name_out[size++] = *at == '/' ? '-' : *at;
        if (*at == '/')
            name_out[size++] = '-';
    }
    name_out[size] = '\0';
    return STATUS_OK;
}

bool hub_model_id(const char *name, char model_id_out[HUB_NAME_SIZE])
{
    size_t size = 0;
    if (strncmp(name, MODEL_PREFIX, strlen(MODEL_PREFIX)) != 0 || strlen(name) >= HUB_NAME_SIZE)
        return false;
    for (const char *at = name + strlen(MODEL_PREFIX); *at; at++) {
        const bool is_slash = at[0] == '-' && at[1] == '-';
        model_id_out[size++] = is_slash ? '/' : *at;
        at += is_slash;
    }
    model_id_out[size] = '\0';
    return model_id_is_sound(model_id_out);
}

bool hub_commit_is_sound(const char *commit)
{
    return commit && strlen(commit) == HUB_COMMIT_SIZE - 1 &&
           strspn(commit, "0123456789abcdef") == HUB_COMMIT_SIZE - 1;
}

bool hub_path_is_sound(const char *path)
{
    const size_t length = path ? strlen(path) : 0;
    int parts = 1;
    if (length == 0 || length > NAME_SIZE_MAX || path[length - 1] == '/')
        return false;
    for (size_t i = 0; i < length; i++) {
        const char c = path[i];
        const bool begins = i == 0 || path[i - 1] == '/';
        if (begins && (c == '/' || c == '.' || c == '-'))
            return false;
        if (c == '/' ? ++parts > HUB_DEPTH_MAX : !is_plain(c) && c != '+' && c != '@' && c != '=')
            return false;
    }
    return true;
}

bool hub_blob_name_is_sound(const char *name, size_t length)
{
    if (length == 0 || length > BLOB_NAME_MAX || name[0] == '.')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_plain(name[i]))
            return false;
    return true;
}
