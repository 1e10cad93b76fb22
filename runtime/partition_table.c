/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/partition_table.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCABULARY "vocabulary rows"
#define LAYERS "layers"
#define LIST_SIZE 320u

/* --- reading --- */

static enum status is_no_table(const char *name, struct reason *reason)
{
    return refuse(reason, STATUS_INVALID, "the table of \"%.60s\" is no list of [first, end] for "
                  "each rank, such as [[0, 7], [7, 16]]", name);
}

/* "attention heads of 64" */
static bool read_name(const char *key, struct table_row *row)
{
    char name[NAME_SIZE_MAX];
    const char *of = strstr(key, " of ");
    char *end = NULL;
    if (strlen(key) >= sizeof name)
        return false;
    (void)snprintf(name, sizeof name, "%s", key);
    if (of && of[4] >= '0' && of[4] <= '9') {
        row->of = (uint32_t)strtoul(of + 4, &end, 10);
        if (*end == '\0')
            name[of - key] = '\0';
        else
            row->of = 0;
    }
    return text_set(&row->what, name);
}

static enum status read_edges(const char *name, const json_t *list, struct table_row *row,
                              struct reason *reason)
{
    const size_t ranks = json_array_size(list);
    if (!json_is_array(list) || ranks == 0 || ranks > RANK_COUNT_MAX)
        return is_no_table(name, reason);
    row->edges.items = memory_zeroed(2 * ranks, sizeof(uint32_t));
    if (!row->edges.items)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a table of %zu ranks", ranks);
    for (size_t i = 0; i < ranks; i++) {
        const json_t *pair = json_array_get(list, i);
        for (size_t k = 0; k < 2; k++) {
            const json_t *edge = json_array_get(pair, k);
            const json_int_t value = json_integer_value(edge);
            if (json_array_size(pair) != 2 || !json_is_integer(edge) || value < 0 ||
                value > UINT32_MAX)
                return is_no_table(name, reason);
            row->edges.items[row->edges.count++] = (uint32_t)value;
        }
    }
    return STATUS_OK;
}

enum status partition_table_read(json_t *root, struct place_instance *request,
                                 struct reason *reason)
{
    const char *name = NULL;
    json_t *list = NULL;
    if (!json_is_object(root) || json_object_size(root) == 0)
        return refuse(reason, STATUS_INVALID, "a table is an object such as "
                      "{\"FFN columns\": [[0, 1344], [1344, 3072]]}");
    json_object_foreach(root, name, list)
    {
        struct table_row *row = record_list_push(&table_row_type, RECORD_LIST(request->table), NULL,
                                                 TABLE_ROW_COUNT_MAX);
        if (!row)
            return refuse(reason, STATUS_TOO_LARGE, "a table of more than %u things",
                          TABLE_ROW_COUNT_MAX);
        if (!read_name(name, row))
            return refuse(reason, STATUS_INVALID, "\"%.60s...\" is nothing that ranks share", name);
        enum status status = read_edges(name, list, row, reason);
        if (status != STATUS_OK)
            return status;
        if (row->edges.count != request->table.items[0].edges.count)
            return refuse(reason, STATUS_INVALID, "the table of %.60s is for %u ranks, that of "
                          "%.60s for %u; give all for the same", name, row->edges.count / 2,
                          text_or_empty(request->table.items[0].what),
                          request->table.items[0].edges.count / 2);
    }
    return STATUS_OK;
}

enum status partition_table_read_file(const char *path, struct place_instance *request,
                                      struct reason *reason)
{
    json_error_t error = {.line = 0};
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return refuse(reason, STATUS_INVALID, "%.200s: %.120s (line %d)", path, error.text,
                      error.line);
    enum status status = partition_table_read(root, request, reason);
    json_decref(root);
    return status;
}

uint32_t partition_table_ranks(const struct place_instance *request)
{
    return request->table.count > 0 ? request->table.items[0].edges.count / 2 : 0;
}

enum sharding partition_table_sharding(const struct place_instance *request)
{
    for (uint32_t i = 0; i < request->table.count; i++)
        if (strcmp(text_or_empty(request->table.items[i].what), LAYERS) == 0)
            return SHARDING_PIPELINE;
    return request->table.count > 0 ? SHARDING_TENSOR : SHARDING_NONE;
}

/* --- one thing of the table --- */

/* What a row cuts: `total` parts of a layer, in pieces that are not parted. */
struct subject {
    char name[NAME_SIZE_MAX];
    uint32_t class; /* PARTITION_CLASSES_MAX: vocabulary rows or layers */
    uint32_t total;
    uint32_t piece;
    bool is_layers;
    bool may_be_empty;
};

static uint32_t parts_of(const struct partition_class *class)
{
    return class->parts > 0 && class->parts % class->units == 0 ? class->parts : class->units;
}

/* "FFN columns, vocabulary rows" */
static const char *list_names(const struct partition_units *units, enum sharding sharding,
                              char text_out[LIST_SIZE])
{
    size_t used = 0;
    text_out[0] = '\0';
    for (uint32_t i = 0; sharding == SHARDING_TENSOR && i < units->class_count; i++)
        if (used + 64 < LIST_SIZE)
            used += (size_t)snprintf(text_out + used, LIST_SIZE - used, "\"%s of %u\", ",
                                     partition_kind_name(units->classes[i].kind),
                                     parts_of(&units->classes[i]));
    (void)snprintf(text_out + used, LIST_SIZE - used, "\"%s\"",
                   sharding == SHARDING_TENSOR ? VOCABULARY : LAYERS);
    return text_out;
}

static enum status find_subject(const struct table_row *row, const struct partition_units *units,
                                enum sharding sharding, struct subject *subject_out,
                                struct reason *reason)
{
    const char *what = text_or_empty(row->what);
    const bool is_layers = strcmp(what, LAYERS) == 0 && sharding == SHARDING_PIPELINE;
    const bool is_vocab = strcmp(what, VOCABULARY) == 0 && sharding == SHARDING_TENSOR;
    uint32_t found = 0;
    char names[LIST_SIZE];
    *subject_out = (struct subject){.class = PARTITION_CLASSES_MAX,
                                    .total = is_layers ? units->layers : units->vocab,
                                    .piece = 1,
                                    .is_layers = is_layers,
                                    .may_be_empty = !is_layers};
    (void)snprintf(subject_out->name, sizeof subject_out->name, "%s", what);
    for (uint32_t i = 0; sharding == SHARDING_TENSOR && i < units->class_count; i++) {
        const struct partition_class *class = &units->classes[i];
        const uint32_t parts = parts_of(class);
        if (strcmp(what, partition_kind_name(class->kind)) != 0 || (row->of && row->of != parts))
            continue;
        subject_out->class = i;
        subject_out->total = parts;
        subject_out->piece = parts / class->units;
        found++;
    }
    if (found == 0 && (is_layers || is_vocab) && (!row->of || row->of == subject_out->total))
        return STATUS_OK;
    if (found == 1)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID, "\"%.60s\" is %s; its ranks share %s", what,
                  found ? "of more than one kind in this model" : "nothing this model shares so",
                  list_names(units, sharding, names));
}

/* Edges that are right and near: where two ranks meet, the middle of what they say. */
static void find_nearest(const struct subject *subject, const struct table_row *row,
                         uint32_t *ends_out)
{
    const uint32_t count = row->edges.count / 2;
    const uint32_t least = subject->may_be_empty ? 0 : subject->piece;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t end = row->edges.items[2 * i + 1];
        const uint64_t next = i + 1 < count ? row->edges.items[2 * i + 2] : end;
        const uint64_t middle = (end + next) / 2;
        const uint64_t rounded = (middle + subject->piece / 2) / subject->piece * subject->piece;
        const uint32_t low = (i > 0 ? ends_out[i - 1] : 0) + least;
        const uint32_t after = (count - 1 - i) * least;
        const uint32_t high = subject->total > after ? subject->total - after : 0;
        ends_out[i] = rounded < low ? low : rounded > high ? high : (uint32_t)rounded;
    }
    ends_out[count - 1] = subject->total;
}

static enum status refuse_row(const struct subject *subject, const struct table_row *row,
                              const char *what, struct reason *reason)
{
    uint32_t ends[RANK_COUNT_MAX];
    char text[LIST_SIZE] = "";
    const uint32_t count = row->edges.count / 2;
    if (!subject->may_be_empty && count > subject->total)
        return refuse(reason, STATUS_INVALID, "%u ranks cannot share %u %s; use at most %u ranks",
                      count, subject->total, subject->name, subject->total);
    find_nearest(subject, row, ends);
    for (uint32_t i = 0, used = 0; i < count && used + 32 < sizeof text; i++)
        used += (uint32_t)snprintf(text + used, sizeof text - used, "%s[%u, %u]", i ? ", " : "",
                                   i ? ends[i - 1] : 0, ends[i]);
    return refuse(reason, STATUS_INVALID, "%s: %s; the nearest table is [%s]", subject->name, what,
                  text);
}

static enum status check_row(const struct subject *subject, const struct table_row *row,
                             struct reason *reason)
{
    const uint32_t count = row->edges.count / 2;
    char what[128] = "";
    uint32_t due = 0;
    for (uint32_t i = 0; i < count && !what[0]; i++) {
        const uint32_t first = row->edges.items[2 * i];
        const uint32_t end = row->edges.items[2 * i + 1];
        const uint32_t odd = first % subject->piece ? first : end;
        if (first != due)
            (void)snprintf(what, sizeof what, "%s: rank %u begins at %u, not at %u",
                           first > due ? "a gap" : "an overlap", i, first, due);
        else if (end < first || end > subject->total ||
                 (end == first && !subject->may_be_empty))
            (void)snprintf(what, sizeof what, "rank %u holds %u to %u of %u", i, first, end,
                           subject->total);
        else if (odd % subject->piece)
            (void)snprintf(what, sizeof what, "rank %u is cut at %u, inside a group of %u", i, odd,
                           subject->piece);
        due = end;
    }
    if (!what[0] && due != subject->total)
        (void)snprintf(what, sizeof what, "a gap: the last rank ends at %u of %u", due,
                       subject->total);
    return what[0] ? refuse_row(subject, row, what, reason) : STATUS_OK;
}

static void take_row(const struct subject *subject, const struct table_row *row,
                     struct partition *partition)
{
    const uint32_t first = row->edges.items[2 * partition->rank] / subject->piece;
    const uint32_t end = row->edges.items[2 * partition->rank + 1] / subject->piece;
    if (subject->is_layers) {
        partition->layer_first = first;
        partition->layer_end = end;
    } else if (subject->class == PARTITION_CLASSES_MAX) {
        partition->vocab_first = first;
        partition->vocab_end = end;
    } else {
        struct partition_cut *cut = &partition->cuts[subject->class];
        cut->step = 1;
        cut->first = first * cut->layers;
        cut->end = end * cut->layers;
    }
}

enum status partition_table_apply(const struct place_instance *request,
                                  const struct partition_units *units,
                                  struct partition *partitions, uint32_t rank_count,
                                  struct reason *reason)
{
    for (uint32_t i = 0; i < request->table.count; i++) {
        const struct table_row *row = &request->table.items[i];
        struct subject subject;
        if (row->edges.count != 2 * rank_count)
            return refuse(reason, STATUS_INVALID, "the table of %.60s is for %u ranks, not for %u",
                          text_or_empty(row->what), row->edges.count / 2, rank_count);
        enum status status =
            find_subject(row, units, partitions[0].sharding, &subject, reason);
        if (status == STATUS_OK)
            status = check_row(&subject, row, reason);
        if (status != STATUS_OK)
            return status;
        for (uint32_t rank = 0; rank < rank_count; rank++)
            take_row(&subject, row, &partitions[rank]);
    }
    return partition_check(partitions, rank_count, units, reason);
}
