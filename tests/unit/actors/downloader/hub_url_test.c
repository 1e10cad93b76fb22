/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_address.h"
#include "actors/downloader/hub_env.h"

#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static struct reason reason;

static struct hub_url url_of(const char *text)
{
    struct hub_url url;
    ck_assert_msg(hub_url_parse(&url, text, &reason) == STATUS_OK, "%s: %s", text, reason.text);
    return url;
}

START_TEST(an_address_is_taken_apart)
{
    static const struct {
        const char *text;
        const char *authority;
        uint16_t port;
        bool is_https;
    } rows[] = {
        {"https://huggingface.co", "huggingface.co", 443, true},
        {"HTTPS://Hub.Example:8443/a?b#c", "Hub.Example:8443", 8443, true},
        {"http://[::1]:80/x", "[::1]", 80, false},
        {"http://10.0.0.1:?q", "10.0.0.1", 80, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct hub_url url = url_of(rows[i].text);
        char authority[300];
        hub_url_authority(&url, authority, sizeof(authority));
        ck_assert_str_eq(authority, rows[i].authority);
        ck_assert_uint_eq(url.port, rows[i].port);
        ck_assert(url.is_https == rows[i].is_https);
        ck_assert_ptr_null(strchr(url.text, '#'));
    }
}
END_TEST

START_TEST(what_is_no_address_is_refused)
{
    static const char *const wrong[] = {
        "",
        "huggingface.co",
        "ftp://a/b",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://a b/",
        "https://user@host/",
        "https://user:word@host",
        "https://host:0/",
        "https://host:65536/",
        "https://host:123456789/",
        "https://host:1a/",
        "https://ho^st/",
        "https://[::1/",
        "https://[::g]x/",
        "https://host\\x/",
        "https://h\xc3\xa4/",
        "https://host/\r\nX: y",
        "http://a%2fb/",
    };
    struct hub_url url;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        ck_assert_msg(hub_url_parse(&url, wrong[i], &reason) == STATUS_MALFORMED, "%s", wrong[i]);
    char text[HUB_URL_SIZE + 64];
    memset(text, 'a', sizeof(text));
    memcpy(text, "http://a/", 9);
    text[sizeof(text) - 1] = '\0';
    ck_assert_int_eq(hub_url_parse(&url, text, &reason), STATUS_TOO_LARGE);
}
END_TEST

START_TEST(an_origin_is_scheme_host_and_port)
{
    const struct hub_url base = url_of("https://huggingface.co/a");
    static const char *const same[] = {"https://huggingface.co", "https://HUGGINGFACE.co:443/b?c"};
    static const char *const other[] = {
        "http://huggingface.co",           "https://huggingface.co:444", "https://huggingface.com",
        "https://huggingface.co.evil.net", "https://cdn.huggingface.co", "https://uggingface.co"};
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        const struct hub_url url = url_of(same[i]);
        ck_assert(hub_url_is_same_origin(&base, &url));
    }
    for (size_t i = 0; i < COUNT_OF(other); i++) {
        const struct hub_url url = url_of(other[i]);
        ck_assert_msg(!hub_url_is_same_origin(&base, &url), "%s", other[i]);
    }
}
END_TEST

START_TEST(a_location_means_what_it_means_at_its_base)
{
    const struct hub_url base = url_of("https://hub.example:9/a/b?c=d");
    static const struct {
        const char *location;
        const char *means;
    } rows[] = {
        {"http://x/y", "http://x/y"},          {"//cdn.example/y", "https://cdn.example/y"},
        {"/y?z", "https://hub.example:9/y?z"}, {"y", "https://hub.example:9/a/y"},
        {"?e", "https://hub.example:9/a/b?e"}, {"../y:z", "https://hub.example:9/a/../y:z"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct hub_url url;
        ck_assert_int_eq(hub_url_follow(&base, rows[i].location, &url, &reason), STATUS_OK);
        ck_assert_str_eq(url.text, rows[i].means);
    }
    const struct hub_url bare = url_of("http://host");
    struct hub_url url;
    ck_assert_int_eq(hub_url_follow(&bare, "x", &url, &reason), STATUS_OK);
    ck_assert_str_eq(url.text, "http://host/x");
}
END_TEST

START_TEST(a_redirect_obeys_the_rules)
{
    const struct hub_url base = url_of("https://hub.example/a");
    struct hub_url url;
    ck_assert_int_eq(hub_url_redirect(&base, "https://cdn/x", 4, &url, &reason), STATUS_OK);
    ck_assert_int_eq(hub_url_redirect(&base, "https://cdn/x", 5, &url, &reason), STATUS_REFUSED);
    ck_assert_ptr_nonnull(strstr(reason.text, "circle"));
    ck_assert_int_eq(hub_url_redirect(&base, "http://cdn/x", 0, &url, &reason), STATUS_REFUSED);
    ck_assert_ptr_nonnull(strstr(reason.text, "https to http"));
    ck_assert_int_eq(hub_url_redirect(&base, "", 0, &url, &reason), STATUS_MALFORMED);
    ck_assert_int_eq(hub_url_redirect(&base, "gopher://x", 0, &url, &reason), STATUS_REFUSED);
}
END_TEST

START_TEST(names_of_repositories_are_checked)
{
    static const char *const sound[] = {"org/name", "gpt2", "a-b/c_d.e", "mlx-community/Qwen3-4B"};
    static const char *const wrong[] = {"",     "/a",      "a/",  "a//b", "a/b/c", "../a", "a/..",
                                        "a..b", "-a",      "a-",  ".a/b", "a/.b",  "a/b.", "a/-b",
                                        "a--b", "a/b.git", "a b", "a%b",  "a\\b",  "a/b\n"};
    for (size_t i = 0; i < COUNT_OF(sound); i++)
        ck_assert_msg(hub_repository_is_sound(sound[i]), "%s", sound[i]);
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        ck_assert_msg(!hub_repository_is_sound(wrong[i]), "%s", wrong[i]);
    char long_name[HUB_REPOSITORY_SIZE_MAX + 2];
    memset(long_name, 'a', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    ck_assert(!hub_repository_is_sound(long_name));
    long_name[sizeof(long_name) - 2] = '\0';
    ck_assert(hub_repository_is_sound(long_name));
}
END_TEST

START_TEST(addresses_of_the_hub_are_made)
{
    struct hub_url endpoint = url_of("https://hub.example/mirror/");
    struct hub_url url;
    hub_url_drop_slash(&endpoint);
    ck_assert_int_eq(hub_url_of_revision(&endpoint, "org/m", "refs/pr/1", &url, &reason),
                     STATUS_OK);
    ck_assert_str_eq(url.text,
                     "https://hub.example/mirror/api/models/org/m/revision/refs%2Fpr%2F1");
    ck_assert_int_eq(hub_url_of_tree(&endpoint, "m", "main", &url, &reason), STATUS_OK);
    ck_assert_str_eq(url.text, "https://hub.example/mirror/api/models/m/tree/main"
                               "?recursive=true&expand=false");
    ck_assert_int_eq(hub_url_of_file(&endpoint, "o/m", "main", "a b/c+?.json", &url, &reason),
                     STATUS_OK);
    ck_assert_str_eq(url.text, "https://hub.example/mirror/o/m/resolve/main/a%20b/c%2B%3F.json");
    ck_assert_int_eq(hub_url_of_file(&endpoint, "o/../m", "main", "c", &url, &reason),
                     STATUS_INVALID);
    ck_assert_int_eq(hub_url_of_file(&endpoint, "o/m", "../x", "c", &url, &reason), STATUS_INVALID);
}
END_TEST

START_TEST(addresses_of_private_networks_are_known)
{
    static const char *const local[] = {"127.0.0.1",
                                        "10.1.2.3",
                                        "172.31.0.1",
                                        "192.168.1.1",
                                        "169.254.169.254",
                                        "0.0.0.0",
                                        "100.64.0.1",
                                        "224.0.0.1",
                                        "255.255.255.255",
                                        "::1",
                                        "::",
                                        "fe80::1",
                                        "fc00::1",
                                        "ff02::1",
                                        "::ffff:127.0.0.1",
                                        "64:ff9b::10.0.0.1",
                                        "2002:7f00:1::"};
    static const char *const global[] = {"1.1.1.1",       "172.32.0.1",   "192.169.0.1",
                                         "100.128.0.1",   "2606:4700::1", "::ffff:1.1.1.1",
                                         "2002:101:101::"};
    for (size_t i = 0; i < COUNT_OF(local) + COUNT_OF(global); i++) {
        const bool is_global = i >= COUNT_OF(local);
        const char *text = is_global ? global[i - COUNT_OF(local)] : local[i];
        union {
            struct sockaddr any;
            struct sockaddr_in v4;
            struct sockaddr_in6 v6;
        } address;
        memset(&address, 0, sizeof(address));
        const bool is_v4 = inet_pton(AF_INET, text, &address.v4.sin_addr) == 1;
        if (!is_v4)
            ck_assert_int_eq(inet_pton(AF_INET6, text, &address.v6.sin6_addr), 1);
        address.any.sa_family = is_v4 ? AF_INET : AF_INET6;
        ck_assert_msg(hub_address_is_global(&address.any, is_v4 ? sizeof(address.v4)
                                                                : sizeof(address.v6)) == is_global,
                      "%s", text);
    }
}
END_TEST

/* ---- variables ---- */

static const char *variables[16];

static const char *get(const char *name)
{
    for (size_t i = 0; i + 1 < COUNT_OF(variables) && variables[i]; i += 2)
        if (strcmp(variables[i], name) == 0)
            return variables[i + 1];
    return NULL;
}

static enum status read_env(struct hub_env *env, const char *const *pairs, size_t count)
{
    memset(variables, 0, sizeof(variables));
    memcpy(variables, pairs, count * sizeof(*pairs));
    return hub_env_read(env, get, &reason);
}
#define READ(env, ...)                                                                             \
    read_env(env, (const char *const[]){__VA_ARGS__},                                              \
             sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

START_TEST(variables_are_read)
{
    struct hub_env env;
    ck_assert_int_eq(READ(&env, "HOME", "/nowhere"), STATUS_OK);
    ck_assert_str_eq(env.endpoint.text, "https://huggingface.co");
    ck_assert_str_eq(env.token, "");
    ck_assert(!env.is_offline);
    ck_assert_uint_eq(env.download_timeout_ms, 10000);
    ck_assert_int_eq(READ(&env, "HF_ENDPOINT", "http://m:1//", "HF_TOKEN", " hf_x\n",
                          "TRANSFORMERS_OFFLINE", "yes", "HF_HUB_DOWNLOAD_TIMEOUT", "2.5"),
                     STATUS_OK);
    ck_assert_str_eq(env.endpoint.text, "http://m:1");
    ck_assert_str_eq(env.token, "hf_x");
    ck_assert(env.is_offline);
    ck_assert_uint_eq(env.download_timeout_ms, 2500);
    hub_env_wipe(&env);
    ck_assert_str_eq(env.token, "");
    ck_assert_int_eq(READ(&env, "HF_TOKEN", "hf_x", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
                     STATUS_OK);
    ck_assert_str_eq(env.token, "");
    ck_assert_int_eq(READ(&env, "HF_HUB_OFFLINE", "0"), STATUS_OK);
    ck_assert(!env.is_offline);
}
END_TEST

START_TEST(variables_that_mean_nothing_are_named)
{
    static const char *const wrong[][2] = {
        {"HF_ENDPOINT", "huggingface.co"},   {"HF_ENDPOINT", "http://user@host"},
        {"HF_TOKEN", "a\r\nX-Evil: 1"},      {"HF_TOKEN", "\xc3\xa4"},
        {"HF_HUB_DOWNLOAD_TIMEOUT", "soon"}, {"HF_HUB_DOWNLOAD_TIMEOUT", "-1"},
        {"HF_HUB_ETAG_TIMEOUT", "nan"},      {"HF_HUB_ETAG_TIMEOUT", "1e9"},
    };
    struct hub_env env;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        ck_assert_int_eq(READ(&env, wrong[i][0], wrong[i][1]), STATUS_INVALID);
        ck_assert_msg(strstr(reason.text, wrong[i][0]), "%s", reason.text);
    }
}
END_TEST

START_TEST(a_token_file_is_its_owners_alone)
{
    struct scratch scratch;
    struct hub_env env;
    char path[256];
    scratch_open(&scratch);
    (void)scratch_path(&scratch, "token", path);
    file_put(path, "hf_file\n", 8);
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(READ(&env, "HF_TOKEN_PATH", path), STATUS_NO_PERMISSION);
    ck_assert_ptr_nonnull(strstr(reason.text, "chmod 600"));
    ck_assert_int_eq(chmod(path, 0600), 0);
    ck_assert_int_eq(READ(&env, "HF_TOKEN_PATH", path), STATUS_OK);
    ck_assert_str_eq(env.token, "hf_file");
    ck_assert_int_eq(READ(&env, "HF_HOME", scratch.path), STATUS_OK);
    ck_assert_str_eq(env.token, "hf_file");
    ck_assert_int_eq(READ(&env, "HF_TOKEN_PATH", scratch.path), STATUS_INVALID);
    (void)scratch_path(&scratch, "absent", path);
    ck_assert_int_eq(READ(&env, "HF_TOKEN_PATH", path), STATUS_NOT_FOUND);
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("hub_url");
    const TTest *const tests[] = {
        an_address_is_taken_apart,         what_is_no_address_is_refused,
        an_origin_is_scheme_host_and_port, a_location_means_what_it_means_at_its_base,
        a_redirect_obeys_the_rules,        names_of_repositories_are_checked,
        addresses_of_the_hub_are_made,     addresses_of_private_networks_are_known,
    };
    const TTest *const variable_tests[] = {
        variables_are_read,
        variables_that_mean_nothing_are_named,
        a_token_file_is_its_owners_alone,
    };
    suite_add(suite, "addresses", tests, COUNT_OF(tests));
    suite_add(suite, "variables", variable_tests, COUNT_OF(variable_tests));
    return suite;
}
