/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/partition_table.h"

#include "protocol/memory.h"
#include "runtime/partition_internal.h"

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
    if (request->table.count > 0 && request->stages.count > 0)
        return SHARDING_PIPELINE_TENSOR;
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
    for (uint32_t i = 0; sharding != SHARDING_PIPELINE && i < units->class_count; i++)
        if (used + 64 < LIST_SIZE)
            used += (size_t)snprintf(text_out + used, LIST_SIZE - used, "\"%s of %u\", ",
                                     partition_kind_name(units->classes[i].kind),
                                     parts_of(&units->classes[i]));
    (void)snprintf(text_out + used, LIST_SIZE - used, "\"%s\"%s",
                   sharding == SHARDING_PIPELINE ? LAYERS : VOCABULARY,
                   sharding == SHARDING_PIPELINE_TENSOR ? ", \"" LAYERS "\"" : "");
    return text_out;
}

static enum status find_subject(const struct table_row *row, const struct partition_units *units,
                                enum sharding sharding, struct subject *subject_out,
                                struct reason *reason)
{
    const char *what = text_or_empty(row->what);
    const bool is_layers = strcmp(what, LAYERS) == 0 && sharding != SHARDING_TENSOR;
    const bool is_vocab = strcmp(what, VOCABULARY) == 0 && sharding != SHARDING_PIPELINE;
    uint32_t found = 0;
    char names[LIST_SIZE];
    *subject_out = (struct subject){.class = PARTITION_CLASSES_MAX,
                                    .total = is_layers ? units->layers : units->vocab,
                                    .piece = 1,
                                    .is_layers = is_layers,
                                    .may_be_empty = !is_layers};
    (void)snprintf(subject_out->name, sizeof subject_out->name, "%s", what);
    for (uint32_t i = 0; sharding != SHARDING_PIPELINE && i < units->class_count; i++) {
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

/* Ranks that tile a subject among them: those of a stage, or all there are. */
struct group {
    const uint32_t *edges; /* 2 of each rank */
    uint32_t first;        /* of the ranks */
    uint32_t count;
    bool has_it; /* else each holds [0, 0] */
};

/* Edges that are right and near: where two ranks meet, the middle of what they say. */
static void find_nearest(const struct subject *subject, const struct group *group,
                         uint32_t *ends_out)
{
    const uint32_t count = group->count;
    const uint32_t least = subject->may_be_empty ? 0 : subject->piece;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t end = group->edges[2 * i + 1];
        const uint64_t next = i + 1 < count ? group->edges[2 * i + 2] : end;
        const uint64_t middle = (end + next) / 2;
        const uint64_t rounded = (middle + subject->piece / 2) / subject->piece * subject->piece;
        const uint32_t low = (i > 0 ? ends_out[i - 1] : 0) + least;
        const uint32_t after = (count - 1 - i) * least;
        const uint32_t high = subject->total > after ? subject->total - after : 0;
        ends_out[i] = rounded < low ? low : rounded > high ? high : (uint32_t)rounded;
    }
    ends_out[count - 1] = subject->total;
}

/* "[0, 4], [4, 8]" of a group; `each` times where it is a stage of so many ranks. */
static uint32_t print_nearest(const struct subject *subject, const struct group *group,
                              const uint32_t *each, char text[LIST_SIZE], uint32_t used)
{
    uint32_t ends[RANK_COUNT_MAX] = {0};
    if (group->has_it)
        find_nearest(subject, group, ends);
    for (uint32_t i = 0; i < group->count; i++)
        for (uint32_t k = 0; k < (each ? each[i] : 1) && used + 32 < LIST_SIZE; k++)
            used += (uint32_t)snprintf(text + used, LIST_SIZE - used, "%s[%u, %u]",
                                       used ? ", " : "", i && group->has_it ? ends[i - 1] : 0,
                                       ends[i]);
    return used;
}

static enum status refuse_groups(const struct subject *subject, const struct group *groups,
                                 uint32_t count, const uint32_t *each, const char *what,
                                 struct reason *reason)
{
    char text[LIST_SIZE] = "";
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!subject->may_be_empty && groups[i].count > subject->total)
            return refuse(reason, STATUS_INVALID, "%u %s cannot share %u %s; use at most %u %s",
                          groups[i].count, each ? "stages" : "ranks", subject->total,
                          subject->name, subject->total, each ? "stages" : "ranks");
    for (uint32_t i = 0; i < count; i++)
        used = print_nearest(subject, &groups[i], each, text, used);
    return refuse(reason, STATUS_INVALID, "%s: %s; the nearest table is [%s]", subject->name, what,
                  text);
}

/* What is wrong with it, in half a sentence; empty: nothing. */
static void judge(const struct subject *subject, const struct group *group, const char *who,
                  char what[128])
{
    const uint32_t total = group->has_it ? subject->total : 0;
    uint32_t due = 0;
    for (uint32_t i = 0; i < group->count && !what[0]; i++) {
        const uint32_t first = group->edges[2 * i];
        const uint32_t end = group->edges[2 * i + 1];
        const uint32_t odd = first % subject->piece ? first : end;
        const uint32_t rank = group->first + i;
        if (!group->has_it && (first != 0 || end != 0))
            (void)snprintf(what, 128, "%s %u holds %u to %u of what its stage has not", who, rank,
                           first, end);
        else if (first != due)
            (void)snprintf(what, 128, "%s: %s %u begins at %u, not at %u",
                           first > due ? "a gap" : "an overlap", who, rank, first, due);
        else if (end < first || end > total || (end == first && !subject->may_be_empty))
            (void)snprintf(what, 128, "%s %u holds %u to %u of %u", who, rank, first, end, total);
        else if (odd % subject->piece)
            (void)snprintf(what, 128, "%s %u is cut at %u, inside a group of %u", who, rank, odd,
                           subject->piece);
        due = end;
    }
    if (!what[0] && due != total)
        (void)snprintf(what, 128, "a gap: the last %s ends at %u of %u", who, due, total);
}

static enum status check_groups(const struct subject *subject, const struct group *groups,
                                uint32_t count, const uint32_t *each, struct reason *reason)
{
    char what[128] = "";
    for (uint32_t i = 0; i < count && !what[0]; i++)
        judge(subject, &groups[i], each ? "stage" : "rank", what);
    return what[0] ? refuse_groups(subject, groups, count, each, what, reason) : STATUS_OK;
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

/* --- all of it --- */

/* The ranks of each stage, or all of them in one; how many groups. */
static uint32_t find_groups(const struct subject *subject, const struct table_row *row,
                            const struct partition *partitions, uint32_t rank_count,
                            struct group *groups)
{
    const bool is_staged = partitions[0].sharding == SHARDING_PIPELINE_TENSOR;
    uint32_t count = 0;
    for (uint32_t first = 0; first < rank_count;) {
        const uint32_t ranks = is_staged ? partitions[first].stage_ranks : rank_count;
        const struct partition *last = &partitions[first + ranks - 1];
        const uint32_t held = subject->class == PARTITION_CLASSES_MAX
                                  ? last->vocab_end
                                  : last->cuts[subject->class].end;
        groups[count++] = (struct group){.edges = row->edges.items + 2 * first,
                                         .first = first,
                                         .count = ranks,
                                         .has_it = !is_staged || held > 0};
        first += ranks;
    }
    return count;
}

/* Layers of stages: those of all ranks of a stage, in the place of the layers there were. */
static enum status take_layers(const struct table_row *row, const struct subject *subject,
                               const struct place_instance *request,
                               const struct partition_units *units, const uint64_t *shares,
                               struct partition *partitions, struct reason *reason)
{
    const uint32_t *sizes = request->stages.items;
    const uint32_t count = request->stages.count;
    uint32_t edges[2 * RANK_COUNT_MAX];
    uint32_t layers[RANK_COUNT_MAX];
    const struct group stages = {.edges = edges, .count = count, .has_it = true};
    for (uint32_t i = 0, rank = 0; i < count; i++) {
        const uint32_t *own = row->edges.items + 2 * rank;
        for (uint32_t k = 1; k < sizes[i]; k++)
            if (memcmp(own, own + 2 * k, 2 * sizeof(*own)) != 0)
                return refuse(reason, STATUS_INVALID, "rank %u holds layers %u to %u, rank %u of "
                              "the same stage %u to %u; give all ranks of a stage [%u, %u]", rank,
                              own[0], own[1], rank + k, own[2 * k], own[2 * k + 1], own[0],
                              own[1]);
        memcpy(&edges[2 * i], own, 2 * sizeof(*own));
        layers[i] = own[1] > own[0] ? own[1] - own[0] : 0;
        rank += sizes[i];
    }
    const enum status status = check_groups(subject, &stages, 1, sizes, reason);
    return status == STATUS_OK ? partition_solve_layers(units, sizes, count, layers, shares,
                                                        partitions, reason)
                               : status;
}

/* The layers of stages, which say what else there is to share, before all the rest. */
static enum status apply_rows(const struct place_instance *request,
                              const struct partition_units *units, const uint64_t *shares,
                              struct partition *partitions, uint32_t rank_count, bool are_layers,
                              struct reason *reason)
{
    const enum sharding sharding = partitions[0].sharding;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < request->table.count && status == STATUS_OK; i++) {
        const struct table_row *row = &request->table.items[i];
        struct group groups[RANK_COUNT_MAX];
        struct subject subject;
        if (row->edges.count != 2 * rank_count)
            return refuse(reason, STATUS_INVALID, "the table of %.60s is for %u ranks, not for %u",
                          text_or_empty(row->what), row->edges.count / 2, rank_count);
        status = find_subject(row, units, sharding, &subject, reason);
        const bool is_first = subject.is_layers && sharding == SHARDING_PIPELINE_TENSOR;
        if (status != STATUS_OK || is_first != are_layers)
            continue;
        if (is_first) {
            status = take_layers(row, &subject, request, units, shares, partitions, reason);
            continue;
        }
        const uint32_t count = find_groups(&subject, row, partitions, rank_count, groups);
        status = check_groups(&subject, groups, count, NULL, reason);
        for (uint32_t rank = 0; rank < rank_count && status == STATUS_OK; rank++)
            take_row(&subject, row, &partitions[rank]);
    }
    return status;
}

enum status partition_table_apply(const struct place_instance *request,
                                  const struct partition_units *units, const uint64_t *shares,
                                  struct partition *partitions, uint32_t rank_count,
                                  struct reason *reason)
{
    enum status status =
        apply_rows(request, units, shares, partitions, rank_count, true, reason);
    if (status == STATUS_OK)
        status = apply_rows(request, units, shares, partitions, rank_count, false, reason);
    return status == STATUS_OK ? partition_check(partitions, rank_count, units, reason) : status;
}
