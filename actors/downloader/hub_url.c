/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_url.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_host_byte(char c, bool is_v6)
{
    return is_letter_or_digit(c) || c == '.' || (is_v6 ? c == ':' : (c == '-' || c == '_'));
}

/* Of [first, end): ":443", or nothing. */
static bool port_read(const char *first, const char *end, uint16_t standard, uint16_t *port_out)
{
    uint32_t port = 0;
    *port_out = standard;
    if (first == end || first + 1 == end)
        return first == end || *first == ':';
    if (*first != ':' || end - first > 6)
        return false;
    for (const char *c = first + 1; c < end; c++) {
        if (*c < '0' || *c > '9')
            return false;
        port = port * 10 + (uint32_t)(*c - '0');
    }
    *port_out = (uint16_t)port;
    return port > 0 && port <= UINT16_MAX;
}

static bool authority_read(struct hub_url *url, size_t first)
{
    const char *text = url->text + first;
    const size_t size = strcspn(text, "/?");
    const bool is_v6 = text[0] == '[';
    size_t host = 0;
    if (is_v6) {
        const char *bracket = memchr(text, ']', size);
        if (!bracket)
            return false;
        host = (size_t)(bracket - text) + 1;
        for (size_t i = 1; i + 1 < host; i++)
            if (!is_host_byte(text[i], true))
                return false;
    } else {
        while (host < size && is_host_byte(text[host], false))
            host++;
    }
    if (host == 0 || host > 255)
        return false;
    url->host_first = (uint16_t)first;
    url->host_size = (uint16_t)host;
    url->path_first = (uint16_t)(first + size);
    return port_read(text + host, text + size, url->is_https ? 443 : 80, &url->port);
}

enum status hub_url_parse(struct hub_url *url_out, const char *text, struct reason *reason)
{
    struct hub_url url = {.text = ""};
    const size_t size = strcspn(text, "#");
    if (size >= sizeof(url.text))
        return refuse(reason, STATUS_TOO_LARGE, "an address of %zu bytes is too long", size);
    for (size_t i = 0; i < size; i++)
        if (text[i] <= ' ' || text[i] > '~' || strchr("\"<>\\^`{|}", text[i]))
            return refuse(reason, STATUS_MALFORMED,
                          "%.100s is no address: byte %zu of it is not "
                          "allowed",
                          text, i);
    memcpy(url.text, text, size);
    url.is_https = strncasecmp(url.text, "https://", 8) == 0;
    if (!url.is_https && strncasecmp(url.text, "http://", 7) != 0)
        return refuse(reason, STATUS_MALFORMED,
                      "%.100s is no address that begins with https:// or "
                      "http://",
                      url.text);
    const size_t first = url.is_https ? 8 : 7;
    if (memchr(url.text + first, '@', strcspn(url.text + first, "/?")))
        return refuse(reason, STATUS_MALFORMED, "an address must not hold a user name");
    if (!authority_read(&url, first))
        return refuse(reason, STATUS_MALFORMED, "%.100s: the host or port of the address is wrong",
                      url.text);
    *url_out = url;
    return STATUS_OK;
}

void hub_url_drop_slash(struct hub_url *url)
{
    size_t size = strlen(url->text);
    while (size > url->path_first && url->text[size - 1] == '/')
        url->text[--size] = '\0';
}

bool hub_url_is_same_origin(const struct hub_url *a, const struct hub_url *b)
{
    return a->is_https == b->is_https && a->port == b->port && a->host_size == b->host_size &&
           strncasecmp(a->text + a->host_first, b->text + b->host_first, a->host_size) == 0;
}

void hub_url_authority(const struct hub_url *url, char *text_out, size_t size)
{
    const bool is_standard = url->port == (url->is_https ? 443 : 80);
    if (is_standard)
        (void)snprintf(text_out, size, "%.*s", (int)url->host_size, url->text + url->host_first);
    else
        (void)snprintf(text_out, size, "%.*s:%u", (int)url->host_size, url->text + url->host_first,
                       (unsigned)url->port);
}

static bool has_scheme(const char *location)
{
    const size_t length = strcspn(location, ":/?#");
    return location[length] == ':' && length > 0;
}

enum status hub_url_follow(const struct hub_url *base, const char *location,
                           struct hub_url *url_out, struct reason *reason)
{
    char text[2 * HUB_URL_SIZE];
    int length;
    if (has_scheme(location))
        return hub_url_parse(url_out, location, reason);
    if (location[0] == '/' && location[1] == '/') {
        length = snprintf(text, sizeof(text), "%s:%s", base->is_https ? "https" : "http", location);
    } else {
        /* The base up to where the location takes over. */
        size_t kept = base->path_first;
        const char *path = base->text + base->path_first;
        const size_t path_size = strcspn(path, "?");
        if (location[0] == '?' || location[0] == '\0')
            kept += path_size;
        else if (location[0] != '/')
            for (size_t i = 0; i < path_size; i++)
                if (path[i] == '/')
                    kept = base->path_first + i + 1;
        const bool needs_slash =
            kept == base->path_first && location[0] != '/' && location[0] != '?';
        length = snprintf(text, sizeof(text), "%.*s%s%s", (int)kept, base->text,
                          needs_slash ? "/" : "", location);
    }
    if (length < 0 || (size_t)length >= sizeof(text))
        return refuse(reason, STATUS_TOO_LARGE, "an address is too long");
    return hub_url_parse(url_out, text, reason);
}

enum status hub_url_redirect(const struct hub_url *from, const char *location, uint32_t hops,
                             struct hub_url *url_out, struct reason *reason)
{
    char host[300];
    struct reason why = {""};
    hub_url_authority(from, host, sizeof(host));
    if (hops >= HUB_HOPS_MAX)
        return refuse(reason, STATUS_REFUSED,
                      "%s redirects in a circle: more than %d redirects for one file", host,
                      HUB_HOPS_MAX);
    if (!location[0])
        return refuse(reason, STATUS_MALFORMED, "%s redirects to nowhere", host);
    if (hub_url_follow(from, location, url_out, &why) != STATUS_OK)
        return refuse(reason, STATUS_REFUSED, "%s redirects to an address that is refused: %s",
                      host, why.text);
    if (from->is_https && !url_out->is_https)
        return refuse(reason, STATUS_REFUSED,
                      "%s redirects from https to http, where anybody could change the bytes",
                      host);
    return STATUS_OK;
}

/* ---- names ---- */

bool hub_repository_is_sound(const char *name)
{
    const size_t size = strlen(name);
    size_t slashes = 0;
    if (size == 0 || size > HUB_REPOSITORY_SIZE_MAX || strstr(name, "..") || strstr(name, "--") ||
        (size >= 4 && strcasecmp(name + size - 4, ".git") == 0))
        return false;
    for (size_t i = 0; i < size; i++) {
        const bool is_edge = i == 0 || i + 1 == size || name[i - 1] == '/' || name[i + 1] == '/';
        slashes += name[i] == '/';
        if (name[i] == '/' ? is_edge && (i == 0 || i + 1 == size)
                           : !is_letter_or_digit(name[i]) && !strchr("._-", name[i]))
            return false;
        if (is_edge && (name[i] == '-' || name[i] == '.'))
            return false;
    }
    return slashes <= 1;
}

bool hub_revision_is_sound(const char *revision)
{
    const size_t size = strlen(revision);
    if (size == 0 || size > HUB_REVISION_SIZE_MAX || revision[0] == '-' || revision[0] == '/' ||
        revision[0] == '.' || revision[size - 1] == '/' || revision[size - 1] == '.' ||
        strstr(revision, "..") || strstr(revision, "//") || strstr(revision, "/.") ||
        strstr(revision, "@{"))
        return false;
    for (size_t i = 0; i < size; i++)
        if (revision[i] <= ' ' || revision[i] > '~' || strchr("~^:?*[\\\"'<>|", revision[i]))
            return false;
    return true;
}

/* ---- making addresses ---- */

/* Appends with what no path may hold as %XX; false when there is no room. */
static bool add_encoded(char *text, size_t *size, const char *part, bool keeps_slash)
{
    static const char digits[] = "0123456789ABCDEF";
    for (; *part; part++) {
        const unsigned char c = (unsigned char)*part;
        if (*size + 4 >= HUB_URL_SIZE)
            return false;
        if (is_letter_or_digit(*part) || strchr("-._~", *part) || (*part == '/' && keeps_slash)) {
            text[(*size)++] = *part;
        } else {
            text[(*size)++] = '%';
            text[(*size)++] = digits[c >> 4];
            text[(*size)++] = digits[c & 15];
        }
    }
    text[*size] = '\0';
    return true;
}

static bool add_plain(char *text, size_t *size, const char *part)
{
    const size_t length = strlen(part);
    if (*size + length >= HUB_URL_SIZE)
        return false;
    memcpy(text + *size, part, length + 1);
    *size += length;
    return true;
}

struct address_parts {
    const char *before; /* "/api/models/" */
    const char *repository;
    const char *middle; /* "/tree/" */
    const char *revision;
    const char *path;  /* or NULL */
    const char *query; /* or NULL */
};

static enum status make(const struct hub_url *endpoint, const struct address_parts *parts,
                        struct hub_url *url_out, struct reason *reason)
{
    char text[HUB_URL_SIZE];
    size_t size = 0;
    if (!hub_repository_is_sound(parts->repository))
        return refuse(reason, STATUS_INVALID, "%.100s is no name of a repository; give ORG/NAME",
                      parts->repository);
    if (!hub_revision_is_sound(parts->revision))
        return refuse(reason, STATUS_INVALID,
                      "%.100s is no revision; give a branch, a tag or a commit", parts->revision);
    const bool fits =
        add_plain(text, &size, endpoint->text) && add_plain(text, &size, parts->before) &&
        add_encoded(text, &size, parts->repository, true) &&
        add_plain(text, &size, parts->middle) && add_encoded(text, &size, parts->revision, false) &&
        (!parts->path ||
         (add_plain(text, &size, "/") && add_encoded(text, &size, parts->path, true))) &&
        (!parts->query || add_plain(text, &size, parts->query));
    if (!fits)
        return refuse(reason, STATUS_TOO_LARGE, "the address of %.100s is too long",
                      parts->path ? parts->path : parts->repository);
    return hub_url_parse(url_out, text, reason);
}

enum status hub_url_of_revision(const struct hub_url *endpoint, const char *repository,
                                const char *revision, struct hub_url *url_out,
                                struct reason *reason)
{
    const struct address_parts parts = {"/api/models/", repository, "/revision/",
                                        revision,       NULL,       NULL};
    return make(endpoint, &parts, url_out, reason);
}

enum status hub_url_of_tree(const struct hub_url *endpoint, const char *repository,
                            const char *commit, struct hub_url *url_out, struct reason *reason)
{
    const struct address_parts parts = {"/api/models/", repository, "/tree/",
                                        commit,         NULL,       "?recursive=true&expand=false"};
    return make(endpoint, &parts, url_out, reason);
}

enum status hub_url_of_file(const struct hub_url *endpoint, const char *repository,
                            const char *commit, const char *path, struct hub_url *url_out,
                            struct reason *reason)
{
    const struct address_parts parts = {"/", repository, "/resolve/", commit, path, NULL};
    return make(endpoint, &parts, url_out, reason);
}
