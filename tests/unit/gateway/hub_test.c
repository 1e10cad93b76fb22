/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hub's read protocol of a gateway: paths, ranges, lists, files here and elsewhere.
 */
#include "actors/gateway/http_range.h"
#include "actors/gateway/hub_request.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/unit/gateway/stage.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define PLAIN "1111111111111111111111111111111111111111"
#define LARGE "2222222222222222222222222222222222222222222222222222222222222222"

static void add_file(struct model_record *model, const char *name, uint64_t size, bool is_weight)
{
    struct file_entry *file =
        record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 64);
    ck_assert(text_set(&file->name, name) && text_set(&file->etag, is_weight ? LARGE : PLAIN));
    file->size = size;
    file->is_weight = is_weight;
}

static void add_holder(struct model_record *model, uint8_t node, bool has_weights)
{
    struct holder_record holder = {.has_weights = has_weights};
    holder.node_id.bytes[0] = node;
    ck_assert_ptr_nonnull(
        record_list_push(&holder_record_type, RECORD_LIST(model->holders), &holder, 8));
}

static struct model_record *add_model(const char *model_id)
{
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(truth.models), NULL, 8);
    ck_assert(text_set(&model->model_id, model_id) && text_set(&model->commit, COMMIT));
    add_file(model, "a/b/c.json", 10, false);
    add_file(model, "a/d.json", 11, false);
    add_file(model, "config.json", 100, false);
    add_file(model, "model.safetensors", 5000, true);
    return model;
}

/* We are node 1; 2 is on the same machine, 3 on another. */
static void open_cluster(void)
{
    static const char *const addresses[] = {"127.0.0.1:8080", "127.0.0.1:9090", "10.0.0.3:52414"};
    open_ready();
    make_truth(INSTANCE_READY, 1);
    for (uint8_t i = 1; i < 3; i++)
        (void)record_list_push(&node_record_type, RECORD_LIST(truth.nodes), NULL, 8);
    for (uint8_t i = 0; i < 3; i++) {
        struct node_record *node = &truth.nodes.items[i];
        node->node_id.bytes[0] = (uint8_t)(i + 1);
        node->machine_id.bytes[0] = i < 2 ? 1 : 2;
        node->in_view = true;
        ck_assert(text_set(&node->http, addresses[i]));
    }
}

static void add_transferer(uint8_t node)
{
    struct endpoint_record *endpoint =
        record_list_push(&endpoint_record_type, RECORD_LIST(truth.endpoints), NULL, 64);
    endpoint->node_id.bytes[0] = node;
    endpoint->actor = ACTOR_TRANSFERER;
    endpoint->incarnation = 1;
    ck_assert(text_set(&endpoint->address, "tcp://10.0.0.2:7000"));
}

static void publish_cluster(void)
{
    truth.index++;
    publish();
}

static json_t *page(uint64_t exchange)
{
    json_error_t error;
    json_t *read = json_loads(text_of(exchange), 0, &error);
    ck_assert_msg(read != NULL, "%s", text_of(exchange));
    return read;
}

static void end_client(uint64_t exchange)
{
    struct client *client = &clients[exchange % CLIENT_COUNT];
    buffer_fini(&client->bytes);
    memset(client, 0, sizeof(*client));
    buffer_init(&client->bytes, 1 << 24);
}

static int get(const char *path, const char *query)
{
    end_client(1);
    request(1, HTTP_METHOD_GET, path, query, "");
    return clients[1].http_status;
}

static void says(const char *part)
{
    ck_assert_msg(strstr(clients[1].lines, part) != NULL, "%s is not in\n%s", part,
                  clients[1].lines);
}

START_TEST(reads_paths)
{
    static const struct {
        const char *path;
        enum hub_kind kind;
        const char *model_id, *revision, *rest;
    } rows[] = {
        {"/org/name/resolve/main/config.json", HUB_FILE, "org/name", "main", "config.json"},
        {"/name/resolve/main/a/b.json", HUB_FILE, "name", "main", "a/b.json"},
        {"/org/name/resolve/refs/pr/1/a/b", HUB_FILE, "org/name", "refs/pr/1", "a/b"},
        {"/org/name/resolve/main", HUB_NOTHING, "", "", ""},
        {"/org/name/resolve/main/", HUB_NOTHING, "", "", ""},
        {"/org/name/resolve/main/config.json/", HUB_NOTHING, "", "", ""},
        {"/org/name/resolve//x", HUB_NOTHING, "", "", ""},
        {"/a/b/c/resolve/main/x", HUB_NOTHING, "", "", ""},
        {"//resolve/main/x", HUB_NOTHING, "", "", ""},
        {"/org/name/raw/main/x", HUB_RAW, "org/name", "main", "x"},
        {"/org/name/raw/main/resolve", HUB_RAW, "org/name", "main", "resolve"},
        {"/org/name/raw/main", HUB_NOTHING, "", "", ""},
        {"/api/models", HUB_MODELS, "", "", ""},
        {"/api/models/", HUB_MODELS, "", "", ""},
        {"/api/modelsx", HUB_NOTHING, "", "", ""},
        {"/api/models/name", HUB_MODEL, "name", "", ""},
        {"/api/models/org/name", HUB_MODEL, "org/name", "", ""},
        {"/api/models/org/name/revision/v1", HUB_MODEL, "org/name", "v1", ""},
        {"/api/models/org/name/revision/refs/pr/1", HUB_MODEL, "org/name", "refs/pr/1", ""},
        {"/api/models/org/name/revision/v1/x", HUB_NOTHING, "", "", ""},
        {"/api/models/org/name/tree/main", HUB_TREE, "org/name", "main", ""},
        {"/api/models/org/name/tree/main/a/b/", HUB_TREE, "org/name", "main", "a/b"},
        {"/api/models/name/refs", HUB_REFS, "name", "", ""},
        {"/api/models/org/name/refs", HUB_REFS, "org/name", "", ""},
        {"/api/models/org/name/commits/main", HUB_COMMITS, "org/name", "main", ""},
        {"/api/models/org/name/commits/main/x", HUB_NOTHING, "", "", ""},
        {"/api/models/org/name/commits", HUB_NOTHING, "", "", ""},
        {"/api/datasets/org/name", HUB_OTHER, "", "", ""},
        {"/", HUB_NOTHING, "", "", ""},
        {"", HUB_NOTHING, "", "", ""},
    };
    struct state state;
    state_init(&state);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct hub_request read = {.kind = HUB_NOTHING};
        ck_assert_msg(hub_request_read(rows[i].path, &state, &read) ==
                          (rows[i].kind != HUB_NOTHING), "%s", rows[i].path);
        ck_assert_msg(read.kind == rows[i].kind, "%s", rows[i].path);
        ck_assert_str_eq(read.model_id, rows[i].model_id);
        ck_assert_str_eq(read.revision, rows[i].revision);
        ck_assert_str_eq(read.path, rows[i].rest);
    }
    char long_path[2 * NAME_SIZE_MAX + 64] = "/org/name/resolve/main/";
    memset(long_path + strlen(long_path), 'x', NAME_SIZE_MAX + 1);
    struct hub_request read;
    ck_assert(!hub_request_read(long_path, &state, &read));
    state_fini(&state);
}
END_TEST

START_TEST(prefers_a_model_that_is_here)
{
    struct hub_request read;
    struct state state;
    state_init(&state);
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, 8);
    ck_assert(text_set(&model->model_id, "org/tree"));
    ck_assert(hub_request_read("/api/models/org/tree/tree/main", &state, &read));
    ck_assert_str_eq(read.model_id, "org/tree");
    ck_assert_ptr_eq(read.model, model);
    ck_assert(text_set(&model->model_id, "a/b/c"));
    ck_assert(hub_request_read("/a/b/c/resolve/main/resolve/x.json", &state, &read));
    ck_assert_str_eq(read.model_id, "a/b/c");
    ck_assert_str_eq(read.path, "resolve/x.json");
    state_fini(&state);
}
END_TEST

START_TEST(reads_ranges)
{
    static const struct {
        const char *range, *if_range;
        enum http_range part;
        uint64_t first, end;
    } rows[] = {
        {"", "", HTTP_RANGE_ALL, 0, 100},
        {"bytes=0-9", "", HTTP_RANGE_PART, 0, 10},
        {"BYTES=0-9", "", HTTP_RANGE_PART, 0, 10},
        {"bytes=90-", "", HTTP_RANGE_PART, 90, 100},
        {"bytes=99-99", "", HTTP_RANGE_PART, 99, 100},
        {"bytes=50-5000", "", HTTP_RANGE_PART, 50, 100},
        {"bytes=-1", "", HTTP_RANGE_PART, 99, 100},
        {"bytes=-500", "", HTTP_RANGE_PART, 0, 100},
        {"bytes=100-", "", HTTP_RANGE_BEYOND, 0, 100},
        {"bytes=100-200", "", HTTP_RANGE_BEYOND, 0, 100},
        {"bytes=-0", "", HTTP_RANGE_BEYOND, 0, 100},
        {"bytes=99999999999999999999999-", "", HTTP_RANGE_BEYOND, 0, 100},
        {"bytes=1-99999999999999999999999", "", HTTP_RANGE_PART, 1, 100},
        {"bytes=18446744073709551615-18446744073709551615", "", HTTP_RANGE_BEYOND, 0, 100},
        {"bytes=9-0", "", HTTP_RANGE_ALL, 0, 100},
        {"bytes=-", "", HTTP_RANGE_ALL, 0, 100},
        {"bytes=", "", HTTP_RANGE_ALL, 0, 100},
        {"bytes=a-9", "", HTTP_RANGE_ALL, 0, 100},
        {"bytes=0-9,20-29", "", HTTP_RANGE_ALL, 0, 100},
        {"bytes=0-9 ", "", HTTP_RANGE_ALL, 0, 100},
        {"items=0-9", "", HTTP_RANGE_ALL, 0, 100},
        {"bytes=0-9", "\"v\"", HTTP_RANGE_PART, 0, 10},
        {"bytes=0-9", "\"w\"", HTTP_RANGE_ALL, 0, 100},
        {"bytes=0-9", "W/\"v\"", HTTP_RANGE_ALL, 0, 100},
        {"bytes=100-", "\"w\"", HTTP_RANGE_ALL, 0, 100},
    };
    uint64_t first = 7;
    uint64_t end = 7;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        ck_assert_msg(http_range_read(rows[i].range, rows[i].if_range, "\"v\"", 100, &first,
                                      &end) == rows[i].part, "%s", rows[i].range);
        ck_assert_msg(first == rows[i].first && end == rows[i].end, "%s", rows[i].range);
    }
    ck_assert_int_eq(http_range_read(NULL, NULL, "", 0, &first, &end), HTTP_RANGE_ALL);
    ck_assert_int_eq(http_range_read("bytes=0-", NULL, "", 0, &first, &end), HTTP_RANGE_BEYOND);
    ck_assert_int_eq(http_range_read("bytes=-5", NULL, "", 0, &first, &end), HTTP_RANGE_BEYOND);
}
END_TEST

START_TEST(says_what_a_model_consists_of)
{
    open_cluster();
    add_holder(add_model("org/name"), 1, true);
    publish_cluster();
    ck_assert_int_eq(get("/api/models/org/name", ""), 200);
    json_t *said = page(1);
    ck_assert_str_eq(json_string_value(json_object_get(said, "sha")), COMMIT);
    ck_assert_str_eq(json_string_value(json_object_get(said, "id")), "org/name");
    ck_assert_uint_eq(json_array_size(json_object_get(said, "siblings")), 4);
    json_decref(said);
    ck_assert_int_eq(get("/api/models/org/name/revision/0123456", "blobs=true"), 200);
    said = page(1);
    const json_t *last = json_array_get(json_object_get(said, "siblings"), 3);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(last, "lfs"), "sha256")),
                     LARGE);
    json_decref(said);
    ck_assert_int_eq(get("/api/models", ""), 200);
    said = page(1);
    /* The other model of the stage has neither commit nor hashes. */
    ck_assert_uint_eq(json_array_size(said), 1);
    json_decref(said);
    ck_assert_int_eq(get("/api/models/org/name/refs", ""), 200);
    ck_assert_ptr_nonnull(strstr(text_of(1), "\"targetCommit\":\"" COMMIT "\""));
    close_gateway();
}
END_TEST

static void lists(const char *path, const char *query, const char *names)
{
    char found[1024] = "";
    size_t i;
    json_t *entry;
    ck_assert_int_eq(get(path, query), 200);
    json_t *tree = page(1);
    json_array_foreach(tree, i, entry) {
        const size_t used = strlen(found);
        (void)snprintf(found + used, sizeof(found) - used, "%s%s ",
                       json_string_value(json_object_get(entry, "path")),
                       strcmp(json_string_value(json_object_get(entry, "type")), "file") ? "/"
                                                                                         : "");
    }
    json_decref(tree);
    ck_assert_str_eq(found, names);
}

START_TEST(lists_a_tree_in_pages)
{
    open_cluster();
    add_holder(add_model("org/name"), 1, true);
    publish_cluster();
    lists("/api/models/org/name/tree/main", "", "a/ config.json model.safetensors ");
    lists("/api/models/org/name/tree/main", "recursive=true&expand=False",
          "a/ a/b/ a/b/c.json a/d.json config.json model.safetensors ");
    ck_assert_ptr_null(strstr(clients[1].lines, "Link"));
    /* Of a large file git has a few lines that name it. */
    ck_assert_ptr_nonnull(strstr(text_of(1), "\"lfs\":{\"oid\":\"" LARGE "\",\"size\":5000,"
                                             "\"pointerSize\":129}"));
    lists("/api/models/org/name/tree/main/a", "recursive=true", "a/b/ a/b/c.json a/d.json ");
    lists("/api/models/org/name/tree/main/a", "", "a/b/ a/d.json ");
    lists("/api/models/org/name/tree/main", "recursive=true&limit=4",
          "a/ a/b/ a/b/c.json a/d.json ");
    says("Link: <http://localhost:8080/api/models/org/name/tree/" COMMIT
         "?recursive=true&limit=4&cursor=4>; rel=\"next\"");
    lists("/api/models/org/name/tree/" COMMIT, "recursive=true&limit=4&cursor=4",
          "config.json model.safetensors ");
    ck_assert_ptr_null(strstr(clients[1].lines, "Link"));
    lists("/api/models/org/name/tree/main", "cursor=99999999999999999999", "");
    ck_assert_int_eq(get("/api/models/org/name/tree/main/b", ""), 404);
    says("X-Error-Code: EntryNotFound");
    close_gateway();
}
END_TEST

static void asks_for(const char *path, const char *body, const char *names)
{
    char found[1024] = "";
    size_t i;
    json_t *entry;
    end_client(1);
    request(1, HTTP_METHOD_POST, path, "", body);
    ck_assert_int_eq(clients[1].http_status, 200);
    json_t *entries = page(1);
    json_array_foreach(entries, i, entry) {
        const size_t used = strlen(found);
        (void)snprintf(found + used, sizeof(found) - used, "%s ",
                       json_string_value(json_object_get(entry, "path")));
    }
    json_decref(entries);
    ck_assert_str_eq(found, names);
}

START_TEST(says_what_is_at_some_paths)
{
    static const char path[] = "/api/models/org/name/paths-info/main";
    open_cluster();
    add_holder(add_model("org/name"), 1, true);
    publish_cluster();
    asks_for(path, "{\"paths\": [\"config.json\", \"none\", \"a\", 7], \"expand\": true}",
             "config.json a ");
    asks_for(path, " {\"paths\": \"a/d.json\"}", "a/d.json ");
    asks_for(path, "{}", "");
    asks_for(path, "", "");
    asks_for(path, "paths=config.json&expand=False&paths=a%2Fb%2Fc.json&paths=a%2Fb&paths=a%",
             "config.json a/b/c.json a/b ");
    asks_for(path, "paths=%00&paths=&paths=..%2F..&pathsx=config.json&paths", "");
    end_client(1);
    request(1, HTTP_METHOD_POST, path, "", "{\"paths\":");
    ck_assert_int_eq(clients[1].http_status, 400);
    end_client(1);
    request(1, HTTP_METHOD_POST, "/api/models/org/name/paths-info/v9", "", "{}");
    ck_assert_int_eq(clients[1].http_status, 404);
    says("X-Error-Code: RevisionNotFound");
    ck_assert_int_eq(get(path, ""), 404); /* it is asked by a body */
    end_client(1);
    request(1, HTTP_METHOD_POST, "/api/models/org/name/tree/main", "", "{}");
    ck_assert_int_eq(clients[1].http_status, 404);
    /* However many are asked for, so many are looked for. */
    static char many[3000 * 9 + 1];
    for (size_t i = 0; i < 3000; i++)
        memcpy(many + 9 * i, "paths=ab&", 10);
    end_client(1);
    request(1, HTTP_METHOD_POST, path, "", many);
    ck_assert_int_eq(clients[1].http_status, 400);
    close_gateway();
}
END_TEST

START_TEST(answers_what_clients_ask_beside_files)
{
    open_cluster();
    add_holder(add_model("org/name"), 1, true);
    publish_cluster();
    ck_assert_int_eq(get("/api/whoami-v2", ""), 200);
    ck_assert_ptr_nonnull(strstr(text_of(1), "\"name\":\"troupe\""));
    ck_assert_int_eq(get("/api/models/org/name/auth-check", ""), 200);
    ck_assert_int_eq(get("/api/models/org/none/auth-check", ""), 404);
    says("X-Error-Code: RepoNotFound");
    ck_assert_int_eq(get("/api/datasets/org/name", ""), 404);
    says("X-Error-Code: RepoNotFound");
    ck_assert_int_eq(get("/api/models/org/name/commits/main", ""), 200);
    ck_assert_ptr_nonnull(strstr(text_of(1), "[{\"id\":\"" COMMIT "\""));
    ck_assert_int_eq(get("/api/models/org/name/commits/main", "p=1&limit=50"), 200);
    ck_assert_str_eq(text_of(1), "[]");
    ck_assert_int_eq(get("/api/models/org/name/commits/v9", ""), 404);
    says("X-Error-Code: RevisionNotFound");
    ck_assert_int_eq(get("/api/models", "search=NAM"), 200);
    ck_assert_ptr_nonnull(strstr(text_of(1), "org/name"));
    ck_assert_int_eq(get("/api/models", "search=zzz"), 200);
    ck_assert_str_eq(text_of(1), "[]");
    ck_assert_int_eq(get("/api/models", "author=org"), 200);
    ck_assert_ptr_nonnull(strstr(text_of(1), "org/name"));
    ck_assert_int_eq(get("/api/models", "author=or"), 200);
    ck_assert_str_eq(text_of(1), "[]");
    ck_assert_int_eq(get("/api/models", "limit=0"), 200);
    ck_assert_str_eq(text_of(1), "[]");
    close_gateway();
}
END_TEST

START_TEST(gives_of_a_large_file_what_git_has_of_it)
{
    open_cluster();
    add_holder(add_model("org/name"), 1, true);
    publish_cluster();
    ck_assert_int_eq(get("/org/name/raw/main/model.safetensors", ""), 200);
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:";
    ck_assert_int_eq(strncmp(text_of(1), pointer, strlen(pointer)), 0);
    says("X-Repo-Commit: " COMMIT);
    ck_assert_int_eq(get("/org/name/raw/main/none", ""), 404);
    says("X-Error-Code: EntryNotFound");
    ck_assert_int_eq(get("/org/name/raw/v9/config.json", ""), 404);
    says("X-Error-Code: RevisionNotFound");
    ck_assert_int_eq(get("/org/name/raw/main/config.json", ""), 0); /* it is being opened */
    close_gateway();
}
END_TEST

START_TEST(knows_the_branch_a_model_was_pulled_by)
{
    open_cluster();
    struct model_record *model = add_model("org/name");
    add_holder(model, 1, true);
    ck_assert(text_set(&model->branch, "v1.0"));
    publish_cluster();
    ck_assert_int_eq(get("/api/models/org/name/revision/v1.0", ""), 200);
    ck_assert_ptr_nonnull(strstr(text_of(1), "\"sha\":\"" COMMIT "\""));
    ck_assert_int_eq(get("/api/models/org/name/refs", ""), 200);
    ck_assert_ptr_nonnull(strstr(text_of(1), "\"ref\":\"refs/heads/v1.0\""));
    ck_assert_int_eq(get("/org/name/resolve/v1.0/config.json", ""), 0);
    ck_assert_ptr_nonnull(wished);
    opened_as(STATUS_OK, "");
    says("X-Repo-Commit: " COMMIT);
    ck_assert_int_eq(get("/org/name/resolve/v1/config.json", ""), 404);
    close_gateway();
}
END_TEST

START_TEST(knows_a_branch_with_slashes)
{
    static const char *const branches[] = {"feature/x", "a/b/c/d", "refs/pr/7", "refs/heads/a/b"};
    char path[128];
    open_cluster();
    struct model_record *model = add_model("org/name");
    add_holder(model, 1, true);
    for (size_t i = 0; i < COUNT_OF(branches); i++) {
        ck_assert(text_set(&model->branch, branches[i]));
        publish_cluster();
        (void)snprintf(path, sizeof(path), "/api/models/org/name/revision/%s", branches[i]);
        ck_assert_int_eq(get(path, ""), 200);
        (void)snprintf(path, sizeof(path), "/api/models/org/name/tree/%s", branches[i]);
        ck_assert_int_eq(get(path, ""), 200);
        (void)snprintf(path, sizeof(path), "/org/name/resolve/%s/none.json", branches[i]);
        ck_assert_int_eq(get(path, ""), 404);
        says("X-Error-Code: EntryNotFound");
        (void)snprintf(path, sizeof(path), "/org/name/resolve/%sy/config.json", branches[i]);
        ck_assert_int_eq(get(path, ""), 404);
        says("X-Error-Code: RevisionNotFound");
    }
    ck_assert_int_eq(get("/org/name/resolve/main/none.json", ""), 404);
    says("X-Error-Code: EntryNotFound");
    close_gateway();
}
END_TEST

START_TEST(a_client_that_has_the_file_gets_no_byte)
{
    static const struct {
        const char *list;
        int http_status;
    } rows[] = {{"\"" PLAIN "\"", 304}, {"W/\"x\", \"" PLAIN "\"", 304}, {"*", 304},
                {"W/\"" PLAIN "\"", 304}, {"\"" LARGE "\"", 0}, {PLAIN, 0}, {"", 0},
                {"\"" PLAIN, 0}, {"\"" PLAIN "x\"", 0}, {",,", 0}};
    open_cluster();
    add_holder(add_model("org/name"), 1, true);
    publish_cluster();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        request_if_none_match = rows[i].list;
        ck_assert_int_eq(get("/org/name/resolve/main/config.json", ""), rows[i].http_status);
        if (wished)
            opened_as(STATUS_OK, "");
    }
    request_if_none_match = "";
    close_gateway();
}
END_TEST

START_TEST(refuses_in_the_words_of_the_hub)
{
    open_cluster();
    add_holder(add_model("org/name"), 1, true);
    publish_cluster();
    ck_assert_int_eq(get("/api/models/org/other", ""), 404);
    says("X-Error-Code: RepoNotFound");
    ck_assert_int_eq(get("/org/other/resolve/main/config.json", ""), 404);
    says("X-Error-Code: RepoNotFound");
    ck_assert_int_eq(get("/org/name/resolve/v2/config.json", ""), 404);
    says("X-Error-Code: RevisionNotFound");
    ck_assert_int_eq(get("/org/name/resolve/012345/config.json", ""), 404);
    says("X-Error-Code: RevisionNotFound");
    ck_assert_int_eq(get("/org/name/resolve/main/none.json", ""), 404);
    says("X-Error-Code: EntryNotFound");
    says("X-Repo-Commit: " COMMIT);
    ck_assert_int_eq(get("/org/na\xc3\xa4me\"/resolve/main/none.json", ""), 404);
    says("X-Error-Message: The model org/na??me\" is not");
    ck_assert_int_eq(get("/demo/resolve/main/config.json", ""), 503);
    ck_assert_ptr_null(wished);
    close_gateway();
}
END_TEST

START_TEST(sends_a_file_of_its_own)
{
    open_cluster();
    add_holder(add_model("org/name"), 1, true);
    publish_cluster();
    ck_assert_int_eq(get("/org/name/resolve/main/model.safetensors", ""), 0);
    ck_assert_ptr_nonnull(wished);
    ck_assert_str_eq(wished->model_id, "org/name");
    ck_assert_str_eq(wished->name, "model.safetensors");
    ck_assert(!wished->is_head);
    opened_as(STATUS_OK, "");
    ck_assert_int_eq(clients[1].http_status, 200);
    ck_assert_uint_eq(clients[1].file_size, 5000);
    says("X-Repo-Commit: " COMMIT "\nETag: \"" LARGE "\"\nX-Linked-Etag: \"" LARGE
         "\"\nX-Linked-Size: 5000\nAccept-Ranges: bytes\nContent-Disposition: inline; "
         "filename*=UTF-8''model.safetensors; filename=\"model.safetensors\";");
    request_range = "bytes=4990-";
    ck_assert_int_eq(get("/org/name/resolve/" COMMIT "/model.safetensors", ""), 0);
    ck_assert_uint_eq(wished->first, 4990);
    opened_as(STATUS_OK, "");
    ck_assert_int_eq(clients[1].http_status, 206);
    ck_assert_uint_eq(clients[1].file_size, 10);
    says("Content-Range: bytes 4990-4999/5000");
    request_if_range = "\"" PLAIN "\""; /* of an older file */
    (void)get("/org/name/resolve/main/model.safetensors", "");
    opened_as(STATUS_OK, "");
    ck_assert_int_eq(clients[1].http_status, 200);
    request_if_range = "";
    request_range = "bytes=5000-";
    ck_assert_int_eq(get("/org/name/resolve/main/model.safetensors", ""), 416);
    says("Content-Range: bytes */5000");
    end_client(1);
    request(1, HTTP_METHOD_HEAD, "/org/name/resolve/main/a/b/c.json", "", "");
    ck_assert(wished->is_head);
    opened_as(STATUS_OK, "");
    ck_assert_int_eq(clients[1].http_status, 200);
    ck_assert_uint_eq(clients[1].file_size, 10);
    says("filename=\"c.json\";");
    request_range = "";
    (void)get("/org/name/resolve/main/config.json", "");
    opened_as(STATUS_DAMAGED, "config.json changed");
    ck_assert_int_eq(clients[1].http_status, 503);
    says("config.json changed");
    close_gateway();
}
END_TEST

START_TEST(sends_what_others_have_when_one_of_them_is_here)
{
    open_cluster();
    struct model_record *model = add_model("org/name");
    add_holder(model, 2, true);
    add_holder(model, 1, false);
    model->manifest.bytes[0] = 1;
    add_transferer(2);
    publish_cluster();
    /* Small files are here; what cannot be opened here is asked of the other. */
    ck_assert_int_eq(get("/org/name/resolve/main/config.json", ""), 0);
    ck_assert_ptr_nonnull(wished);
    clear_sent();
    opened_as(STATUS_DAMAGED, "config.json changed");
    ck_assert_int_eq(clients[1].http_status, 0);
    ck_assert_str_eq(opened[0].endpoint, "tcp://10.0.0.2:7000");
    end_client(1);
    request(1, HTTP_METHOD_HEAD, "/org/name/resolve/main/model.safetensors", "", "");
    ck_assert_ptr_null(wished);
    ck_assert_int_eq(clients[1].http_status, 200);
    ck_assert_uint_eq(clients[1].file_size, 5000);
    /* Where its HTTP listens is no matter; whether it is here is. */
    truth.nodes.items[1].in_view = false;
    publish_cluster();
    ck_assert_int_eq(get("/org/name/resolve/main/model.safetensors", ""), 503);
    says("Retry-After: 5");
    truth.nodes.items[1].in_view = true;
    memset(&truth.models.items[1].manifest, 0, sizeof(struct hash)); /* it was never cut */
    publish_cluster();
    ck_assert_int_eq(get("/org/name/resolve/main/model.safetensors", ""), 503);
    close_gateway();
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("gateway-hub");
    const TTest *const tests[] = {
        reads_paths,
        prefers_a_model_that_is_here,
        reads_ranges,
        says_what_a_model_consists_of,
        lists_a_tree_in_pages,
        says_what_is_at_some_paths,
        answers_what_clients_ask_beside_files,
        gives_of_a_large_file_what_git_has_of_it,
        knows_the_branch_a_model_was_pulled_by,
        knows_a_branch_with_slashes,
        a_client_that_has_the_file_gets_no_byte,
        refuses_in_the_words_of_the_hub,
        sends_a_file_of_its_own,
        sends_what_others_have_when_one_of_them_is_here,
    };
    suite_add(suite, "gateway-hub", tests, COUNT_OF(tests));
    return suite;
}
