/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/automaton.h"

#include "protocol/memory.h"

#include <string.h>

void automaton_init(struct automaton *automaton)
{
    *automaton = (struct automaton){.edge_count = 1};
    (void)automaton_state(automaton); /* 0: where failed builders write */
}

void automaton_fini(struct automaton *automaton)
{
    memory_free(automaton->first);
    memory_free(automaton->edges);
    memory_free(automaton->rules);
    memory_free(automaton->is_end);
    *automaton = (struct automaton){0};
}

/* Room for one more of `size` bytes each. */
static bool grow(struct automaton *automaton, void **items, uint32_t count, uint32_t *capacity,
                 uint32_t most, size_t size)
{
    if (automaton->failed != STATUS_OK)
        return false;
    if (count < *capacity)
        return true;
    if (count >= most) {
        automaton->failed = STATUS_TOO_LARGE;
        return false;
    }
    const uint32_t larger = *capacity ? *capacity * 2 : 64;
    void *grown = memory_resized(*items, larger, size);
    if (!grown) {
        automaton->failed = STATUS_NO_MEMORY;
        return false;
    }
    *items = grown;
    *capacity = larger;
    return true;
}

uint32_t automaton_state(struct automaton *automaton)
{
    void *items = automaton->first;
    if (!grow(automaton, &items, automaton->state_count, &automaton->state_capacity,
              AUTOMATON_STATES_MAX, sizeof(*automaton->first)))
        return 0;
    automaton->first = items;
    automaton->first[automaton->state_count] = 0;
    return automaton->state_count++;
}

uint32_t automaton_rule(struct automaton *automaton)
{
    const uint32_t start = automaton_state(automaton);
    const uint32_t end = automaton_state(automaton);
    void *items = automaton->rules;
    if (!grow(automaton, &items, automaton->rule_count, &automaton->rule_capacity,
              AUTOMATON_RULES_MAX, sizeof(*automaton->rules)))
        return 0;
    automaton->rules = items;
    automaton->rules[automaton->rule_count] = (struct rule){start, end};
    return automaton->rule_count++;
}

static void add_edge(struct automaton *automaton, uint32_t from, const struct edge *edge)
{
    void *items = automaton->edges;
    if (!grow(automaton, &items, automaton->edge_count, &automaton->edge_capacity,
              AUTOMATON_EDGES_MAX, sizeof(*automaton->edges)))
        return;
    automaton->edges = items;
    automaton->edges[automaton->edge_count] = *edge;
    automaton->edges[automaton->edge_count].next = automaton->first[from];
    automaton->first[from] = automaton->edge_count++;
}

void automaton_bytes(struct automaton *automaton, uint32_t from, uint8_t low, uint8_t high,
                     uint32_t to)
{
    const struct edge edge = {.target = to, .kind = EDGE_BYTES, .low = low, .high = high};
    add_edge(automaton, from, &edge);
}

void automaton_skip(struct automaton *automaton, uint32_t from, uint32_t to)
{
    const struct edge edge = {.target = to, .kind = EDGE_SKIP};
    add_edge(automaton, from, &edge);
}

void automaton_call(struct automaton *automaton, uint32_t from, uint32_t rule, uint32_t to)
{
    const struct edge edge = {.target = to, .rule = rule, .kind = EDGE_CALL};
    add_edge(automaton, from, &edge);
}

uint32_t automaton_text(struct automaton *automaton, uint32_t from, const char *text, size_t size)
{
    for (size_t at = 0; at < size; at++) {
        const uint32_t to = automaton_state(automaton);
        automaton_bytes(automaton, from, (uint8_t)text[at], (uint8_t)text[at], to);
        from = to;
    }
    return from;
}

void automaton_suspect(struct automaton *automaton, uint32_t state, uint32_t count,
                       const char *text, size_t size)
{
    if (automaton->is_trusted)
        return;
    struct suspect *place = &automaton->suspects[0];
    for (uint32_t at = 0; at < automaton->suspect_count; at++) {
        const struct suspect *known = &automaton->suspects[at];
        const size_t known_size = strlen(known->text);
        if (known->count == count && known_size <= size &&
            memcmp(known->text, text, known_size) == 0)
            return; /* again */
    }
    if (automaton->suspect_count < AUTOMATON_SUSPECTS_MAX)
        place = &automaton->suspects[automaton->suspect_count++];
    else
        for (uint32_t at = 1; at < AUTOMATON_SUSPECTS_MAX; at++)
            if (automaton->suspects[at].count < place->count)
                place = &automaton->suspects[at];
    if (place->count >= count)
        return;
    *place = (struct suspect){.state = state, .count = count};
    /* Whole characters of the text's beginning. */
    size_t kept = size < sizeof(place->text) ? size : sizeof(place->text) - 1;
    while (kept < size && kept > 0 && ((uint8_t)text[kept] & 0xc0) == 0x80)
        kept--;
    memcpy(place->text, text, kept);
    place->text[kept] = '\0';
}

/* ---- closing ---- */

/* The edges of each state side by side, in the order they were added. */
static bool sort_edges(struct automaton *automaton)
{
    struct edge *sorted = memory_zeroed(automaton->edge_count, sizeof(*sorted));
    uint32_t *first = memory_zeroed((size_t)automaton->state_count + 1, sizeof(*first));
    if (!sorted || !first) {
        memory_free(sorted);
        memory_free(first);
        return false;
    }
    uint32_t at = 0;
    for (uint32_t state = 0; state < automaton->state_count; state++) {
        first[state] = at;
        uint32_t count = 0;
        for (uint32_t edge = automaton->first[state]; edge; edge = automaton->edges[edge].next)
            count++;
        uint32_t place = at + count;
        for (uint32_t edge = automaton->first[state]; edge; edge = automaton->edges[edge].next)
            sorted[--place] = automaton->edges[edge];
        at += count;
    }
    first[automaton->state_count] = at;
    memory_free(automaton->first);
    memory_free(automaton->edges);
    automaton->first = first;
    automaton->edges = sorted;
    automaton->edge_count = at;
    return true;
}

/* Who must be looked at again when a state is marked: for each state a list of the others. */
struct backward {
    uint32_t *first; /* of a state; its list ends where the next begins */
    uint32_t *sources;
    uint32_t *work;
};

static void backward_fini(struct backward *backward)
{
    memory_free(backward->first);
    memory_free(backward->sources);
    memory_free(backward->work);
}

/* Counts, or writes where `counted` says, what an edge makes of its source. */
static void backward_add(const struct automaton *automaton, const struct edge *edge,
                         uint32_t source, uint32_t *places, uint32_t *sources)
{
    const uint32_t waits[] = {edge->target,
                              edge->kind == EDGE_CALL ? automaton->rules[edge->rule].start : 0};
    for (size_t at = 0; at < (edge->kind == EDGE_CALL ? 2u : 1u); at++) {
        if (sources)
            sources[--places[waits[at]]] = source;
        else
            places[waits[at]]++;
    }
}

static bool backward_init(struct backward *backward, const struct automaton *automaton)
{
    const uint32_t states = automaton->state_count;
    *backward = (struct backward){
        .first = memory_zeroed((size_t)states + 1, sizeof(uint32_t)),
        .sources = memory_zeroed(2 * (size_t)automaton->edge_count + 1, sizeof(uint32_t)),
        .work = memory_zeroed(states, sizeof(uint32_t))};
    if (!backward->first || !backward->sources || !backward->work)
        return false;
    for (uint32_t *sources = NULL;; sources = backward->sources) {
        for (uint32_t state = 0; state < states; state++)
            for (uint32_t at = automaton->first[state]; at < automaton->first[state + 1]; at++)
                backward_add(automaton, &automaton->edges[at], state, backward->first, sources);
        if (sources)
            return true;
        for (uint32_t state = 0; state < states; state++)
            backward->first[state + 1] += backward->first[state];
    }
}

static bool leads_to_marked(const struct automaton *automaton, uint32_t state, const bool *marks,
                            bool skips_only)
{
    for (uint32_t at = automaton->first[state]; at < automaton->first[state + 1]; at++) {
        const struct edge *edge = &automaton->edges[at];
        if ((edge->kind != EDGE_BYTES || !skips_only) && marks[edge->target] &&
            (edge->kind != EDGE_CALL || marks[automaton->rules[edge->rule].start]))
            return true;
    }
    return false;
}

/* Marks all from which a marked state is reached; false: no memory. */
static bool mark_back(const struct automaton *automaton, bool *marks, bool skips_only)
{
    struct backward backward;
    uint32_t count = 0;
    const bool good = backward_init(&backward, automaton);
    for (uint32_t state = 0; good && state < automaton->state_count; state++)
        if (marks[state])
            backward.work[count++] = state;
    while (count > 0) {
        const uint32_t state = backward.work[--count];
        for (uint32_t at = backward.first[state]; at < backward.first[state + 1]; at++) {
            const uint32_t source = backward.sources[at];
            if (marks[source] || !leads_to_marked(automaton, source, marks, skips_only))
                continue;
            marks[source] = true;
            backward.work[count++] = source;
        }
    }
    backward_fini(&backward);
    return good;
}

static bool *marks_of_ends(const struct automaton *automaton)
{
    bool *marks = memory_zeroed(automaton->state_count, sizeof(*marks));
    for (uint32_t rule = 0; marks && rule < automaton->rule_count; rule++)
        marks[automaton->rules[rule].end] = true;
    return marks;
}

/* Edges into states from which the rule's end is never reached are dropped. */
static enum status cut_dead(struct automaton *automaton)
{
    bool *alive = marks_of_ends(automaton);
    if (!alive)
        return STATUS_NO_MEMORY;
    if (!mark_back(automaton, alive, false)) {
        memory_free(alive);
        return STATUS_NO_MEMORY;
    }
    uint32_t kept = 0;
    for (uint32_t state = 0; state < automaton->state_count; state++) {
        const uint32_t first = automaton->first[state];
        const uint32_t end = automaton->first[state + 1];
        automaton->first[state] = kept;
        for (uint32_t at = first; at < end; at++) {
            const struct edge *edge = &automaton->edges[at];
            if (alive[edge->target] &&
                (edge->kind != EDGE_CALL || alive[automaton->rules[edge->rule].start]))
                automaton->edges[kept++] = *edge;
        }
    }
    automaton->first[automaton->state_count] = kept;
    automaton->edge_count = kept;
    const bool has_text = alive[automaton->rules[automaton->root].start];
    memory_free(alive);
    return has_text ? STATUS_OK : STATUS_INVALID;
}

enum { UNSEEN, OPEN, DONE };

struct left_walk {
    uint32_t *stack; /* states */
    uint32_t *at;    /* next edge of each */
    uint8_t *seen;
    uint32_t depth;
};

static void enter(const struct automaton *automaton, struct left_walk *walk, uint32_t state)
{
    walk->seen[state] = OPEN;
    walk->stack[walk->depth] = state;
    walk->at[walk->depth++] = automaton->first[state] * 2; /* edge, and whether it called */
}

/* Depth first over what is reached without a byte.  A way back through a call is a rule that
 * begins with itself; skips alone may turn in circles, matchers visit each state once. */
static bool walk_left(const struct automaton *automaton, struct left_walk *walk,
                      const bool *nullable, uint32_t root)
{
    enter(automaton, walk, root);
    while (walk->depth > 0) {
        const uint32_t state = walk->stack[walk->depth - 1];
        const uint32_t edge_at = walk->at[walk->depth - 1] / 2;
        const bool is_return = walk->at[walk->depth - 1] % 2;
        if (edge_at >= automaton->first[state + 1]) {
            walk->seen[state] = DONE;
            walk->depth--;
            continue;
        }
        const struct edge *edge = &automaton->edges[edge_at];
        walk->at[walk->depth - 1]++;
        uint32_t next = edge->target;
        if (edge->kind == EDGE_BYTES)
            continue;
        if (edge->kind == EDGE_SKIP && is_return)
            continue;
        if (edge->kind == EDGE_CALL) {
            const uint32_t start = automaton->rules[edge->rule].start;
            if (is_return && !nullable[start])
                continue;
            if (!is_return && walk->seen[start] == OPEN)
                return false;
            next = is_return ? next : start;
        }
        if (walk->seen[next] == UNSEEN)
            enter(automaton, walk, next);
    }
    return true;
}

static enum status check_left(const struct automaton *automaton)
{
    bool *nullable = marks_of_ends(automaton);
    struct left_walk walk = {
        .stack = memory_zeroed(automaton->state_count, sizeof(uint32_t)),
        .at = memory_zeroed(automaton->state_count, sizeof(uint32_t)),
        .seen = memory_zeroed(automaton->state_count, sizeof(uint8_t)),
    };
    enum status status = STATUS_NO_MEMORY;
    if (nullable && walk.stack && walk.at && walk.seen) {
        status = mark_back(automaton, nullable, true) ? STATUS_OK : STATUS_NO_MEMORY;
        for (uint32_t rule = 0; status == STATUS_OK && rule < automaton->rule_count; rule++) {
            const uint32_t start = automaton->rules[rule].start;
            if (walk.seen[start] == UNSEEN && !walk_left(automaton, &walk, nullable, start))
                status = STATUS_INVALID;
        }
    }
    memory_free(nullable);
    memory_free(walk.stack);
    memory_free(walk.at);
    memory_free(walk.seen);
    return status;
}

static void make_classes(struct automaton *automaton)
{
    bool begins[257] = {true};
    for (uint32_t at = 0; at < automaton->edge_count; at++) {
        const struct edge *edge = &automaton->edges[at];
        if (edge->kind != EDGE_BYTES)
            continue;
        begins[edge->low] = true;
        begins[edge->high + 1u] = true;
    }
    uint32_t count = 0;
    for (uint32_t byte = 0; byte < 256; byte++) {
        count += begins[byte];
        automaton->classes[byte] = (uint8_t)(count - 1);
    }
    automaton->class_count = count;
}

enum status automaton_close(struct automaton *automaton, uint32_t root, struct reason *reason)
{
    if (automaton->failed == STATUS_TOO_LARGE)
        return refuse(reason, STATUS_TOO_LARGE,
                      "the grammar explodes: it takes more than %d states, %d edges or %d rules; "
                      "use smaller counts or fewer alternatives",
                      AUTOMATON_STATES_MAX, AUTOMATON_EDGES_MAX, AUTOMATON_RULES_MAX);
    automaton->root = root;
    if (automaton->failed != STATUS_OK || !sort_edges(automaton))
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the grammar");
    enum status status = cut_dead(automaton);
    if (status == STATUS_INVALID)
        return refuse(reason, status,
                      "no text fits the grammar: it asks for itself without end or "
                      "for what cannot be");
    if (status == STATUS_OK)
        status = check_left(automaton);
    if (status == STATUS_INVALID)
        return refuse(reason, status,
                      "the grammar refers to itself before any text; break the circle");
    if (status == STATUS_OK) {
        make_classes(automaton);
        automaton->is_end = marks_of_ends(automaton);
    }
    if (status != STATUS_OK || !automaton->is_end)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the grammar");
    return STATUS_OK;
}
