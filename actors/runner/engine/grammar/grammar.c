/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/grammar.h"

#include "actors/runner/engine/grammar/probe.h"
#include "protocol/memory.h"

enum status grammar_refuse(enum status status, struct reason *reason)
{
    if (status == STATUS_TOO_LARGE)
        return refuse(reason, status,
                      "the grammar explodes: too many ways are open at one place of the answer; "
                      "make its alternatives differ sooner or its counts smaller");
    return refuse(reason, status, "no memory for the grammar");
}

enum status grammar_open(struct automaton *automaton, const struct vocabulary *vocabulary,
                         struct grammar **grammar_out, struct reason *reason)
{
    struct grammar *grammar = memory_zeroed(1, sizeof(*grammar));
    if (!grammar) {
        automaton_fini(automaton);
        return grammar_refuse(STATUS_NO_MEMORY, reason);
    }
    grammar->holders = 1;
    grammar->automaton = *automaton;
    *automaton = (struct automaton){0};
    grammar->vocabulary = vocabulary;
    enum status status = probe_suspects(&grammar->automaton, vocabulary, reason);
    if (status == STATUS_OK) {
        status = positions_open(&grammar->automaton, &grammar->newest);
        if (status != STATUS_OK)
            status = grammar_refuse(status, reason);
    }
    if (status != STATUS_OK) {
        grammar_release(grammar);
        return status;
    }
    *grammar_out = grammar;
    return STATUS_OK;
}

void grammar_hold(struct grammar *grammar)
{
    grammar->holders++;
}

void grammar_release(struct grammar *grammar)
{
    if (!grammar || --grammar->holders > 0)
        return;
    positions_release(grammar->newest);
    automaton_fini(&grammar->automaton);
    memory_free(grammar);
}

size_t grammar_memory(const struct grammar *grammar)
{
    return sizeof(*grammar) + positions_memory(grammar->newest) +
           grammar->automaton.state_count * sizeof(uint32_t) +
           grammar->automaton.edge_count * sizeof(struct edge);
}

/* The newest positions, unless they are those that are full. */
static enum status carry(struct grammar *grammar, struct positions **positions, uint32_t *position)
{
    const uint32_t carried = positions_carry(*positions, *position, grammar->newest);
    const enum status status = grammar->newest->failed;
    if (status != STATUS_OK) {
        grammar->newest->failed = STATUS_OK;
        return status;
    }
    positions_hold(grammar->newest);
    (*positions)->failed = STATUS_OK;
    positions_release(*positions);
    *positions = grammar->newest;
    *position = carried;
    return STATUS_OK;
}

enum status grammar_renew(struct grammar *grammar, struct positions **positions, uint32_t *position)
{
    if (*positions != grammar->newest && carry(grammar, positions, position) == STATUS_OK)
        return STATUS_OK;
    struct positions *fresh = NULL;
    const enum status status = positions_open(&grammar->automaton, &fresh);
    if (status != STATUS_OK)
        return status;
    positions_release(grammar->newest);
    grammar->newest = fresh;
    return carry(grammar, positions, position);
}
