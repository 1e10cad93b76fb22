/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage: a gateway's step alone; the test is its master, its runners, its clients and its clock.
 *
 * Memory   all of it static: one gateway at a time, from open_gateway to close_gateway.
 */
#ifndef TROUPE_TESTS_UNIT_GATEWAY_STAGE_H
#define TROUPE_TESTS_UNIT_GATEWAY_STAGE_H

#include "actors/gateway/gateway.h"

#define CLIENT_COUNT 16
#define RUNNER (GATEWAY_LINK_RUNNER + 0)

/* What one HTTP client got. */
struct client {
    int http_status;
    unsigned retry_after_s;
    bool is_stream;
    bool is_ended;
    struct buffer bytes;
    char lines[4096];   /* of the head */
    uint64_t file_size; /* of what is to follow from a file */
};

/* All content of a stream, its usage and its finish reason, read as a client reads them. */
struct reading {
    char text[65536];
    int roles;
    int completion_tokens;
    char finish[32];
    bool is_done;
    bool has_error;
};

extern struct outbox outbox;
extern struct state truth; /* what the test's master believes */
extern struct client clients[CLIENT_COUNT];
extern struct message sent[64]; /* to master and runners, oldest first */
extern uint32_t sent_link[64];
extern size_t sent_count;
extern struct buffer journal;
extern bool is_ready;
extern uint64_t now_ms;
extern struct file_wish *wished; /* the last file it wants opened; its own until opened_as */
extern struct piece_check *checking; /* the last piece to be hashed; its own until checked_as */
extern struct link_options opened[64]; /* to holders, by their slot */
/* Of the next requests. */
extern const char *request_range, *request_if_range, *request_if_none_match;

void say(uint32_t link, struct envelope head, void *body);
void step_kind(enum input_kind kind, uint32_t link);
void say_link(uint32_t link, uint32_t code, void *body);
void pass_ms(uint64_t duration_ms);
void clear_sent(void);
void clear_sent_but_last(void);
const struct message *sent_of(uint32_t kind, uint32_t code);
void publish(void);
void make_truth(enum instance_status status, uint64_t counter);
void open_gateway(void);
void close_gateway(void);
void open_ready(void);
void request(uint64_t exchange, enum http_method method, const char *path, const char *query,
             const char *body);
/* What the shell says of the file that is wished. */
void opened_as(enum status status, const char *sentence);
/* What the shell says of the piece that is to be hashed. */
void checked_as(enum status status);
/* The client took a piece to its end. */
void take_all(uint64_t exchange);
void leave(uint64_t exchange);
void chat(uint64_t exchange, const char *more);
const char *text_of(uint64_t exchange);
const struct generate *asked(void);
void accept_chat(uint32_t link);
void token(uint32_t link, uint32_t number, const char *text, uint64_t text_end);
void finish(uint32_t link, uint32_t how, const char *text, uint64_t text_end);
struct reading *read_stream(uint64_t exchange);
void next_generation(uint64_t counter);

#endif
