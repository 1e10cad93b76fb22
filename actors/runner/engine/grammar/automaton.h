/* SPDX-License-Identifier: Apache-2.0 */
/*
 * automaton: a grammar as rules over bytes, each a nondeterministic automaton that may call others.
 *
 * Built by adding states and edges, then closed: states from which no end is reached are cut off,
 * rules that call themselves before any byte are refused, edges are put in order.  What is built
 * from texts of strangers ends at the limits below; the first failure sticks, and later calls do
 * nothing, so that builders need not ask after each edge.
 *
 * Owner    a compiler of constraints, then a matcher.
 * Memory   16 bytes an edge, 8 a state, up to the limits.
 * Threads  one while built; read only once closed.
 * Fails    STATUS_TOO_LARGE (a grammar that explodes), STATUS_INVALID (it calls itself for ever, or
 *          no text fits), STATUS_NO_MEMORY; told by automaton_close.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_AUTOMATON_H
#define TROUPE_ENGINE_GRAMMAR_AUTOMATON_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    AUTOMATON_STATES_MAX = 1 << 17, /* an array of a thousand records of ten texts fits */
    AUTOMATON_EDGES_MAX = 1 << 19,
    AUTOMATON_RULES_MAX = 1 << 13,
    AUTOMATON_SUSPECTS_MAX = 4,
    AUTOMATON_SUSPECT_TEXT_SIZE = 48,
};

/* Before the text of a token that is one for itself (`<think>`); no byte of UTF-8. */
#define AUTOMATON_MARKER_BYTE 0xffu

enum edge_kind { EDGE_BYTES, EDGE_SKIP, EDGE_CALL };

struct edge {
    uint32_t next; /* while built: the state's edge before this one, 0: none */
    uint32_t target;
    uint32_t rule; /* of a call, which comes back to `target` */
    uint8_t kind;
    uint8_t low, high; /* bytes, both inclusive */
};

struct rule {
    uint32_t start;
    uint32_t end;
};

/* A part whose counts may open many ways at once: where it begins, and its text for a sentence. */
struct suspect {
    uint32_t state;
    uint32_t count; /* how often its innermost part may stand */
    char text[AUTOMATON_SUSPECT_TEXT_SIZE];
};

struct automaton {
    uint32_t *first; /* of a state; closed: edges first[s] to first[s + 1] - 1 */
    uint32_t state_count, state_capacity;
    struct edge *edges; /* edges[0] is none */
    uint32_t edge_count, edge_capacity;
    struct rule *rules;
    uint32_t rule_count, rule_capacity;
    uint32_t root;
    bool *is_end;         /* closed: the state ends its rule */
    uint8_t classes[256]; /* closed: bytes no edge tells apart share one */
    uint32_t class_count;
    struct suspect suspects[AUTOMATON_SUSPECTS_MAX]; /* those of the largest counts */
    uint32_t suspect_count;
    bool is_trusted; /* what is built now is of our own making: nothing in it is suspect */
    enum status failed;
};

void automaton_init(struct automaton *automaton);
void automaton_fini(struct automaton *automaton);

/* Each gives 0 once the automaton has failed. */
uint32_t automaton_state(struct automaton *automaton);
uint32_t automaton_rule(struct automaton *automaton);
void automaton_bytes(struct automaton *automaton, uint32_t from, uint8_t low, uint8_t high,
                     uint32_t to);
void automaton_skip(struct automaton *automaton, uint32_t from, uint32_t to);
void automaton_call(struct automaton *automaton, uint32_t from, uint32_t rule, uint32_t to);
/* Kept while few have larger counts. */
void automaton_suspect(struct automaton *automaton, uint32_t state, uint32_t count,
                       const char *text, size_t size);
/* A chain of bytes; gives its last state. */
uint32_t automaton_text(struct automaton *automaton, uint32_t from, const char *text, size_t size);

MUST_CHECK enum status automaton_close(struct automaton *automaton, uint32_t root,
                                       struct reason *reason);

#endif
