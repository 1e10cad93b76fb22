/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway: serves HTTP clients: the chat interface, the state, placing, the live events.
 *
 * Accepts  HTTP requests and departures of their clients (results of the shell); welcome, snapshot,
 *          events and answers of its master; accepted, tokens and last words of runners.
 * Emits    HTTP answers and streams (effects); commands to its master; generate and
 *          cancel_generation to the runners of rank 0; file_asked and manifest_asked to the
 *          transferers of nodes that hold what a client wants; lines of the request journal.
 * Owner    runtime/loop.h; pure: chat.c, runners.c, routes.c, instances.c, feed.c, replies.c.
 * Memory   the state, a record for each request in flight, the last events as text.
 * Threads  one.
 * Fails    a step fails only without memory or when the state can not be trusted; the process then
 *          ends and asks its master anew.
 *
 * A stream outlives its runner: a chat keeps its prompt's ids, its settings, its seed and every
 * token id; when the runner's connection or generation ends it waits for the next ready generation
 * and goes on there, with a higher attempt.  The client sees comments meanwhile, never a text
 * twice.
 */
#ifndef TROUPE_ACTORS_GATEWAY_GATEWAY_H
#define TROUPE_ACTORS_GATEWAY_GATEWAY_H

#include "actors/gateway/http_file.h"
#include "actors/gateway/http_head.h"
#include "actors/gateway/openai.h"
#include "runtime/pace_view.h"
#include "runtime/session.h"
#include "runtime/transfer_progress.h"

#define GATEWAY_CHAT_COUNT_MAX 256 /* as many as connections */
#define GATEWAY_ASK_COUNT_MAX 128
#define GATEWAY_WATCHER_COUNT_MAX 64
#define GATEWAY_RUNNER_COUNT_MAX 64
#define GATEWAY_PULL_COUNT_MAX 64 /* whose progress is kept, by model and node */
#define GATEWAY_FEED_COUNT_MAX 1024
#define GATEWAY_FEED_SIZE_MAX (4u << 20)

#define GATEWAY_TICK_MS 500
#define GATEWAY_COMMENT_MS 4000 /* a silent stream gets a comment this often: within 5 s */
#define GATEWAY_BEGIN_MS 2000   /* a stream nobody accepted yet begins, to carry comments */
#define GATEWAY_RESUME_MS 60000 /* a chat without a runner that long fails, begun or not */
#define GATEWAY_WHOLE_RESUME_MS 8000 /* one whose client hears nothing before the whole answer */
#define GATEWAY_AWAY_MS 5000    /* so does one without a word whose model's holder is away */
#define GATEWAY_ATTEMPT_MAX 16  /* so does one that lost so many runners without a token */
#define GATEWAY_ANSWER_MS 2500  /* commands are answered within 3 s */
#define GATEWAY_BEAT_MS 500     /* rank 0 drops a gateway silent for 2 s */
#define GATEWAY_SILENT_MS 1800  /* after a pause that long rank 0 may have dropped what we asked */
#define GATEWAY_READY_MS 2000   /* without a master we are ready all the same: HTTP answers */

enum gateway_link {
    GATEWAY_LINK_MASTER = SESSION_LINK,
    GATEWAY_LINK_RUNNER,
    GATEWAY_LINK_HOLDER = GATEWAY_LINK_RUNNER + GATEWAY_RUNNER_COUNT_MAX
};

enum gateway_effect {
    GATEWAY_ANSWER = 1,   /* struct http_output: whole */
    GATEWAY_STREAM_BEGIN, /* struct http_output */
    GATEWAY_STREAM_WRITE, /* struct http_output: a piece */
    GATEWAY_STREAM_END,   /* struct http_output */
    GATEWAY_JOURNAL,      /* struct http_output: one line */
    GATEWAY_RESULT_HTTP,  /* unasked: struct http_arrival */
    GATEWAY_FILE,         /* struct http_output: the head, then the bytes of its file */
    GATEWAY_OPEN_FILE,    /* request and value: struct file_wish */
    GATEWAY_PIPE_BEGIN,   /* struct http_output: the head, and the size of what follows */
    GATEWAY_PIPE_WRITE,   /* struct http_output: a piece */
    GATEWAY_CHECK_PIECE   /* request and value: struct piece_check */
};

/* To an HTTP client, or to the journal. */
struct http_output {
    uint64_t exchange;
    int http_status;
    unsigned retry_after_s;
    const char *content_type;
    const char *extra; /* one more header line, a constant; NULL: none */
    char *lines;       /* instead: several, "\n" between them; its own */
    struct buffer bytes;
    struct http_file *file; /* of GATEWAY_FILE; NULL: the head alone was asked for */
    uint64_t size;          /* of what follows from it */
};
void http_output_free(void *output);

/* A file of a model, to be opened on this node's disk. */
struct file_wish {
    uint64_t exchange;
    char model_id[NAME_SIZE_MAX + 1];
    char name[NAME_SIZE_MAX + 1];
    struct hash revision;
    bool is_head;
    uint64_t first; /* of the file */
    uint64_t size;  /* from there on */
    int http_status;
    char *lines;            /* of the answer's head */
    struct http_file *file; /* once it is open, unless is_head */
};
void file_wish_free(void *wish);
/* The head of its answer; takes its lines over, and the file when it was opened. */
struct http_output file_wish_output(struct file_wish *wish);

/* A piece of a file that came from another node, to be hashed beside the loop. */
struct piece_check {
    uint64_t exchange;
    struct buffer bytes;
    struct hash digest; /* what it must have */
};
void piece_check_free(void *check);

/* From an HTTP client: what http_server says, without its types. */
enum http_arrival_kind { HTTP_ARRIVAL_REQUEST, HTTP_ARRIVAL_GONE, HTTP_ARRIVAL_DRAINED };
struct http_arrival {
    enum http_arrival_kind kind;
    uint64_t exchange;
    enum http_method method;
    const char *path;
    const char *query;
    const char *body;
    size_t body_size;
    const char *host;     /* as the client named us, with the port */
    const char *range;    /* or empty */
    const char *if_range; /* or empty */
    const char *if_none_match; /* or empty */
};

struct gateway_settings {
    struct session_settings session;
    const char *http; /* "http://127.0.0.1:52414" once it is bound: what others are told */
};

/* Our connection to the runner of rank 0 of one generation. */
struct runner_link {
    bool is_used;
    bool is_up;
    struct instance_id instance_id;
    struct generation generation;
    uint64_t beat_at_ms;
};

enum chat_phase {
    CHAT_WAITING, /* for a runner */
    CHAT_ASKED,   /* a runner has it, and has not answered */
    CHAT_RUNNING
};

struct chat {
    uint64_t exchange;
    struct request_id id;
    struct chat_request request; /* generate.prompt_ids: as accepted */
    struct chat_identity identity;
    enum chat_phase phase;
    uint32_t slot;      /* of the runner link, unless waiting */
    uint32_t attempt;   /* of the last generate sent; the first is 1 */
    uint32_t fruitless; /* runners lost since the last token */
    uint64_t full;      /* a bit for each runner link whose queue had no place for it */
    uint32_t *tokens;   /* every id received */
    uint32_t token_count;
    uint32_t token_capacity;
    uint32_t thinking_count; /* tokens of the thinking among them */
    uint64_t text_end;      /* bytes of text received */
    struct buffer text;     /* of an answer in one piece */
    struct buffer logprobs; /* of an answer in one piece; or those not sent yet */
    struct buffer reasoning; /* of an answer in one piece */
    struct chat_call *calls; /* likewise */
    uint32_t call_count;     /* begun so far, of any answer */
    bool is_begun;          /* the stream's head is out */
    bool has_role;          /* the first chunk is out */
    bool is_accepted;       /* at least once: prompt ids are known */
    uint64_t began_ms;
    uint64_t began_wall_ms;
    uint64_t first_token_ms;
    uint64_t lost_ms;    /* without a runner since; 0: has one that makes progress */
    uint64_t written_ms; /* last bytes to the client */
    uint64_t looked_ms;  /* last tick that saw it */
    char sentence[160];  /* why the last runner was lost */
};

enum ask_kind {
    ASK_PLACE,
    ASK_DELETE,
    ASK_CANDIDATES,
    ASK_DISTRIBUTE,
    ASK_CANCEL_TRANSFER,
    ASK_LINKS
};

/* A command on its way. */
struct ask {
    bool is_used;
    enum ask_kind kind;
    struct command_key key;
    uint64_t exchange;
    uint64_t deadline_ms;
    uint64_t index; /* its event; answered when we have applied it */
    uint32_t holders;
    uint32_t nodes;
    struct instance_id instance_id;
    struct buffer bytes; /* to send again after a reconnect */
};

struct watcher {
    bool is_used;
    uint64_t exchange;
    uint64_t written_ms;
};

struct feed_entry {
    uint64_t index;
    char *text; /* one server-sent event */
    size_t size;
};

struct relay_desk; /* relay.h */

/* What a node told of a pull last. */
struct pull_progress {
    struct import_progressed told;
    uint64_t expires_ms; /* 0: this entry is free */
};

struct gateway {
    const struct gateway_settings *settings;
    struct session session;
    bool is_ready_told;
    uint64_t started_ms;
    uint8_t seed[ACTOR_SEED_SIZE];
    uint64_t id_count;
    struct chat *chats[GATEWAY_CHAT_COUNT_MAX];
    struct ask asks[GATEWAY_ASK_COUNT_MAX];
    struct watcher watchers[GATEWAY_WATCHER_COUNT_MAX];
    struct runner_link runners[GATEWAY_RUNNER_COUNT_MAX];
    struct feed_entry feed[GATEWAY_FEED_COUNT_MAX]; /* ring */
    uint32_t feed_first;
    uint32_t feed_count;
    size_t feed_size;
    uint64_t tick_at_ms;
    struct transfer_progress_table transfers; /* how far they are */
    struct pace_table paces;                  /* how fast instances were */
    struct pull_progress pulls[GATEWAY_PULL_COUNT_MAX]; /* likewise */
    struct relay_desk *relays;                /* NULL: none was ever needed */

    /* of the step that runs */
    const struct input *input;
    struct outbox *outbox;
};

extern const struct actor_ops gateway_ops;

/* ---- gateway.c ---- */
/* The cluster as the master told it; empty before, and while it tells it anew. */
const struct state *gateway_state(const struct gateway *gateway);
/* 16 bytes nobody else draws: BLAKE2b of the seed of this life and a count. */
void gateway_draw_id(struct gateway *gateway, void *id_out);
void gateway_send(struct gateway *gateway, uint32_t link, uint32_t kind, uint32_t code, void *body);

/* ---- replies.c ---- */
/* `bytes` are taken and left empty.  A lack of memory fails the outbox, and with it the process. */
void reply(struct gateway *gateway, uint64_t exchange, int http_status, struct buffer *bytes);
void reply_text(struct gateway *gateway, uint64_t exchange, int http_status, const char *json);
void reply_fault(struct gateway *gateway, uint64_t exchange, const struct http_fault *fault);
/* With one more header line, a constant; NULL: none. */
void reply_fault_with(struct gateway *gateway, uint64_t exchange, const struct http_fault *fault,
                      const char *header);
/* With more header lines, "\n" between them, or NULL; they are taken. */
/* Text that is no JSON; `lines` and `bytes` as there. */
void reply_plain(struct gateway *gateway, uint64_t exchange, char *lines, struct buffer *bytes);
void reply_lines(struct gateway *gateway, uint64_t exchange, int http_status, char *lines,
                 struct buffer *bytes);
/* What the output owns is taken. */
void reply_file(struct gateway *gateway, struct http_output output);
/* An answer of known size in pieces, each of which is heard of when the client took it. */
void pipe_begin(struct gateway *gateway, struct http_output output);
void pipe_write(struct gateway *gateway, uint64_t exchange, struct buffer *bytes);
void stream_begin(struct gateway *gateway, uint64_t exchange);
void stream_write(struct gateway *gateway, uint64_t exchange, struct buffer *bytes);
void stream_end(struct gateway *gateway, uint64_t exchange);
void journal_write(struct gateway *gateway, struct buffer *line);
/* What a refusal of a master or runner is in HTTP. */
void fault_of_status(struct http_fault *fault_out, uint32_t status, const char *reason);

/* ---- routes.c ---- */
void route_request(struct gateway *gateway, const struct http_arrival *request);

/* ---- instances.c: routes about models and instances, and the commands behind them ---- */
/* model_facts.c: more members of a model's object. */
MUST_CHECK enum status model_facts_print(const struct gateway *gateway,
                                         const struct model_record *model, struct buffer *json);
void route_models(struct gateway *gateway, const struct http_arrival *request);
void route_model(struct gateway *gateway, const struct http_arrival *request);
void route_instances(struct gateway *gateway, const struct http_arrival *request);
void route_instance(struct gateway *gateway, const struct http_arrival *request);
void route_place(struct gateway *gateway, const struct http_arrival *request);
void route_delete(struct gateway *gateway, const struct http_arrival *request);
void route_previews(struct gateway *gateway, const struct http_arrival *request);
/* Why nothing can answer for this model now; false when something can. */
bool model_fault(const struct gateway *gateway, const char *model_id, struct http_fault *fault_out);
/* An instance of it is on its way, and nothing is known that would keep it from being ready. */
bool model_is_loading(const struct gateway *gateway, const char *model_id);
/* How far it is, as a comment for those who wait. */
void model_loading_print(const struct gateway *gateway, const char *model_id, char *text_out,
                         size_t size);
/* No node that is here has its weights, and no ready instance needs them. */
bool model_is_away(const struct gateway *gateway, const char *model_id);

/* ---- transfers.c: routes about copying models between nodes ---- */
void route_distribute(struct gateway *gateway, const struct http_arrival *request);
void route_transfers(struct gateway *gateway, const struct http_arrival *request);
void route_transfer(struct gateway *gateway, const struct http_arrival *request);
void route_cancel_transfer(struct gateway *gateway, const struct http_arrival *request);
MUST_CHECK enum status transfer_print(const struct gateway *gateway,
                                      const struct transfer_record *transfer,
                                      struct buffer *json);
/* The transfer that a command made, joined or cancelled, as more members of the answer. */
MUST_CHECK enum status transfer_print_asked(const struct gateway *gateway, const struct ask *ask,
                                            struct buffer *json);

/* ---- pulls.c: the route about models on their way from a hub ---- */
void route_pulls(struct gateway *gateway, const struct http_arrival *request);
/* Any message; those that say nothing of a pull are none of its business. */
void pulls_note(struct gateway *gateway, const struct message *message);
void pulls_fini(struct gateway *gateway);

/* ---- asks.c ---- */
/* Sends a command; its client is answered within GATEWAY_ANSWER_MS. */
void ask_begin(struct gateway *gateway, enum ask_kind kind, uint64_t exchange, uint32_t code,
               void *body, const struct instance_id *instance_id);
void asks_answered(struct gateway *gateway, const struct message *answer);
void asks_applied(struct gateway *gateway);
void asks_resend(struct gateway *gateway);
void asks_tick(struct gateway *gateway);
void asks_forget(struct gateway *gateway, uint64_t exchange);
void asks_fini(struct gateway *gateway);
/* One instance as clients read it. */
MUST_CHECK enum status instance_print(const struct gateway *gateway,
                                      const struct instance_record *instance, struct buffer *json);
void reply_candidates(struct gateway *gateway, uint64_t exchange,
                      const struct candidates_listed *listed);

/* ---- runners.c ---- */
/* Opens and closes links so that each generation that may serve has one. */
void runners_sync(struct gateway *gateway);
void runners_up(struct gateway *gateway, uint32_t slot);
void runners_down(struct gateway *gateway, uint32_t slot, const char *sentence);
void runners_tick(struct gateway *gateway);
/* The ready runner of this model with the fewest chats, but none of `full` (a bit for each link);
 * -1 when there is none. */
int runners_pick(const struct gateway *gateway, const char *model_id, uint64_t full);
bool model_is_ready(const struct gateway *gateway, const char *model_id);

/* ---- chat.c ---- */
void chat_begin(struct gateway *gateway, const struct http_arrival *request);
void chat_message(struct gateway *gateway, uint32_t slot, const struct message *message);
void chats_lose(struct gateway *gateway, uint32_t slot, const char *sentence);
void chats_tick(struct gateway *gateway);
void chats_start_waiting(struct gateway *gateway);
void chats_forget(struct gateway *gateway, uint64_t exchange);
void chats_end_all(struct gateway *gateway);
void chats_fini(struct gateway *gateway);
uint32_t chats_on(const struct gateway *gateway, uint32_t slot);

/* ---- chat_output.c ---- */
void chat_open_stream(struct gateway *gateway, struct chat *chat);
void chat_text(struct gateway *gateway, struct chat *chat, const char *text, size_t size);
/* Thinking and calls of tools the client has not seen; `calls` are `count` pieces. */
void chat_extras(struct gateway *gateway, struct chat *chat, const char *reasoning,
                 const struct call_piece *calls, uint32_t count);
void chat_comment(struct gateway *gateway, struct chat *chat, const char *text);
void chat_finish(struct gateway *gateway, struct chat *chat, const char *finish_reason);
void chat_error(struct gateway *gateway, struct chat *chat, const struct http_fault *fault);
void chat_journal(struct gateway *gateway, const struct chat *chat, const char *finish,
                  int http_status);

/* ---- feed.c ---- */
void feed_event(struct gateway *gateway, const struct message *event);
void feed_restart(struct gateway *gateway);
void route_events(struct gateway *gateway, const struct http_arrival *request);
void feed_tick(struct gateway *gateway);
void feed_forget(struct gateway *gateway, uint64_t exchange);
bool feed_has_watchers(const struct gateway *gateway);
void feed_end_all(struct gateway *gateway);
void feed_fini(struct gateway *gateway);

#endif
