/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk: the sealed streams by which chunks of models travel, on threads beside the loop.
 *
 * The lender binds one plain endpoint and sends the chunks it is told to, for each receiver in
 * turn; the receiver connects to lenders, opens, checks and stores, on BULK_LANES threads that
 * share its streams.  Who asks whom for what is agreed over the CURVE links of the loop (receive.c,
 * lend.c); nothing here decides anything.
 *
 * A stream begins with a message of its receiver: its session (16 bytes, in the clear) and a sealed
 * empty message, so that the lender learns which connection it is; each session is taken once.
 * Then the lender sends pieces of at most PIECE_SIZE, in order:
 *
 *   4      chunk, counted over all files of the manifest
 *   4      offset in it
 *   n+24   the piece, sealed with session, chunk and offset (runtime/crypto_seal.h)
 *
 * A chunk of a download is followed by one more piece, at the offset of its size: the 32 bytes of
 * the digest it had when it came to the lender.
 *
 * What does not open, or is not the next piece, ends the stream.  The lender's endpoint takes no
 * message longer than LENDER_MESSAGE_MAX, so a stranger can make nobody allocate anything.  No more
 * than PIECES_QUEUED wait at either end.
 *
 * Owner    the transferer's shell.
 * Memory   the receiver: one chunk and PIECES_QUEUED pieces for each stream.  The lender: one piece
 *          and PIECES_QUEUED for each stream.
 * Threads  bulk_open, bulk_take and bulk_close on the loop's; the work on its own, which run at a
 *          lower priority than everything else on the node, and rest between pieces while the node
 *          generates (pace.h).
 * Fails    into results.
 */
#ifndef TROUPE_ACTORS_TRANSFERER_BULK_H
#define TROUPE_ACTORS_TRANSFERER_BULK_H

#include "runtime/crypto_seal.h"
#include "runtime/loop.h"
#include "runtime/model_receive.h"
#include "runtime/model_share.h"

/* Each piece costs a seal, a message and some turns of threads: 2 MiB, one of them queued, takes up
 * to 8 % less of a processor than 512 KiB, six queued; 128 KiB takes more
 * (scripts/bars/03-distribute prints the processor seconds).  4 MiB would not come from kept memory
 * (main.c). */
#define PIECE_SIZE ((size_t)1 << 21)
#define PIECES_QUEUED 1u
#define PIECE_HEADER_SIZE 8u
#define PIECE_MESSAGE_MAX (PIECE_HEADER_SIZE + PIECE_SIZE + SEAL_OVERHEAD)
#define HELLO_SIZE (16u + SEAL_OVERHEAD)
#define LENDER_MESSAGE_MAX 256u /* what ZeroMQ says itself at the start of a connection fits */
#define LENDS_MAX 128   /* streams of one lender */
#define LEND_WINDOW_MAX 8u /* chunks asked for; more than any honest receiver has at once */
#define RECEIVES_MAX 3u /* models received at once */
#define BULK_LANES 3u   /* threads of one receiver, beside one that opens and places models */
#define STREAMS_MAX 16  /* of one thread that takes chunks */
#define GATHERS_MAX 2u  /* downloads whose chunks are taken at once */

/* ---- what the loop tells the threads, and hears of them ---- */

/* What the lender's disk has of a model, by the stamps of its files. */
struct disk_look {
    bool is_made; /* else nobody looked */
    bool has_small_files;
    uint8_t held[FILE_SET_BYTES_MAX]; /* a bit for each file of the record */
    struct reason reason;             /* what went or changed */
};

/* A stream of the lender, or of the receiver. */
struct stream_request {
    uint32_t link; /* the receiver's number for it */
    struct request_id session;
    struct hash key;
    bool is_aes;
    char address[LINK_ENDPOINT_SIZE]; /* the receiver's: where to connect */
    char model_id[NAME_SIZE_MAX + 1]; /* the lender's: what to read from */
    struct hash revision;
    struct model_record record;       /* the lender's */
    uint32_t doubted;                 /* the lender's: chunk to be read again, and 1; 0: none */
    bool is_shared;                   /* of a download, not of a model */
    struct download_record download;  /* the lender's, when shared */
    bool is_strict;                   /* the lender's, when shared: of files that are placed */
    uint32_t gather;                  /* the receiver's, when shared: which one */
    struct bytes held_out;            /* when shared: a set of chunks */
    struct disk_look look_out;        /* the lender's, when not shared */
};
void stream_request_free(void *request);

struct chunk_request {
    struct request_id session;
    uint32_t chunk;
};

/* To open a receive, and what was found of it. */
struct receive_request {
    struct model_record record;
    struct bytes manifest;
    uint8_t *have_out; /* a set of chunks */
    uint32_t count_out;
    uint64_t bytes_out;
};
void receive_request_free(void *request);

/* What a lender has of a download now. */
struct share_look {
    struct request_id session;
    bool is_strict;
    struct bytes held_out; /* a set of chunks */
};
void share_look_free(void *look);

/* A download whose chunks are taken: opened, and looked at again and again. */
struct gather_look {
    uint32_t gather;
    struct download_record download; /* to open it */
    uint8_t *wanted;                 /* a byte for each file: peers shall fill it */
    uint8_t *have_out;               /* a set of chunks: on the disk */
    uint8_t *open_out;               /* a byte for each file: chunks can be put now */
    uint32_t count_out;              /* chunks */
    bool was_reset_out;              /* a file began anew: its whole was wrong */
};
void gather_look_free(void *look);

/* Unasked: a chunk was stored, or a stream broke (`chunk` is CHUNK_NONE).  The result's number is
 * that of the receive it is of. */
struct chunk_told {
    uint32_t link;
    uint32_t chunk;
    uint64_t bytes;
};

/* Unasked: a chunk left, or could not (the result's status). */
struct chunk_sent {
    struct request_id session;
    uint32_t chunk;
    struct disk_look look; /* made when the chunk could not be read of a model */
};

enum bulk_kind {
    BULK_FIRST = 100,
    BULK_LEND = BULK_FIRST, /* stream_request */
    BULK_SEND,              /* chunk_request */
    BULK_LEAVE_LENT,        /* chunk_request: the session alone */
    BULK_LENDER_BOUND,      /* unasked: value is a text, the address */
    BULK_CHUNK_SENT,        /* unasked: chunk_sent */
    BULK_SHARE_LOOK = 110,  /* share_look, also the value */
    BULK_RECEIVE_FIRST = 120,
    BULK_RECEIVE_OPEN = BULK_RECEIVE_FIRST, /* receive_request, also the value */
    BULK_JOIN,                              /* stream_request; the id is the receive's */
    BULK_LEAVE,                             /* stream_request: the link alone */
    BULK_RECEIVE_PLACE,                     /* no request */
    BULK_RECEIVE_DROP,                      /* no request; no result */
    BULK_CHUNK_TOLD,                        /* unasked: chunk_told */
    BULK_SWEEP,                             /* sweep_request; no result */
    BULK_GATHER_FIRST = 140,
    BULK_GATHER_OPEN = BULK_GATHER_FIRST, /* gather_look, also the value */
    BULK_GATHER_LOOK,                     /* likewise */
    BULK_GATHER_JOIN,                     /* stream_request */
    BULK_GATHER_LEAVE,                    /* stream_request: the link alone */
    BULK_GATHER_CLOSE,                    /* gather_look: the number alone; no result */
    BULK_BUSY = 160                       /* no request; the id is the time in ms until which a
                                           * rank of this node computes */
};

struct sweep_request {
    char kept[TRANSFER_COUNT_MAX][RECEIVING_NAME_SIZE];
    size_t count;
};

struct bulk;
struct bulk_brake;

struct bulk_options {
    /* Takes what is told to the loop, from any thread: loop_post. */
    void (*post)(struct loop *loop, const struct result *result);
    struct loop *loop;
    struct model_store *store;
    const char *listen;     /* "tcp://127.0.0.1:0" */
    uint64_t rate;          /* bytes a second that leave; 0: no limit */
    struct bulk_brake *brake; /* between the files of bulk alone */
};

MUST_CHECK enum status bulk_open(const struct bulk_options *options, struct bulk **bulk_out,
                                 struct reason *reason);
/* Takes the request of the effect. */
MUST_CHECK enum status bulk_take(struct bulk *bulk, struct effect *effect);
/* Accepts NULL. */
void bulk_close(struct bulk *bulk);

/* ---- between the files of bulk alone ---- */

struct bulk_thread;
struct bulk_ops {
    /* On the thread, before and after everything else. */
    enum status (*begin)(void *self, struct transport *transport, struct reason *reason);
    void (*end)(void *self);
    void (*take)(void *self, struct effect *effect);
    void (*event)(void *self, const struct transport_event *event);
    /* Does a little of what there is to do; in so many ms again, -1: when something came.  NULL:
     * nothing is done unasked. */
    int64_t (*work)(void *self);
};
/* The thread has a transport of its own, which `begin` is given. */
MUST_CHECK enum status bulk_thread_open(const struct bulk_options *options,
                                        const struct bulk_ops *ops, void *self,
                                        struct bulk_thread **thread_out, struct reason *reason);
MUST_CHECK enum status bulk_thread_post(struct bulk_thread *thread, struct effect *effect);
/* Long work asks between its parts, and gives up; rests first while the node generates. */
bool bulk_thread_is_ending(const struct bulk_thread *thread);
void bulk_thread_close(struct bulk_thread *thread);

struct bulk_lender;
MUST_CHECK enum status bulk_lender_open(const struct bulk_options *options,
                                        struct bulk_lender **lender_out, struct reason *reason);
struct bulk_thread *bulk_lender_thread(struct bulk_lender *lender);
void bulk_lender_close(struct bulk_lender *lender);

struct bulk_receiver;
MUST_CHECK enum status bulk_receiver_open(const struct bulk_options *options,
                                          struct bulk_receiver **receiver_out,
                                          struct reason *reason);
/* The thread an effect is for. */
struct bulk_thread *bulk_receiver_thread(struct bulk_receiver *receiver,
                                         const struct effect *effect);
void bulk_receiver_close(struct bulk_receiver *receiver);

struct bulk_gatherer;
MUST_CHECK enum status bulk_gatherer_open(const struct bulk_options *options,
                                          struct bulk_gatherer **gatherer_out,
                                          struct reason *reason);
struct bulk_thread *bulk_gatherer_thread(struct bulk_gatherer *gatherer);
void bulk_gatherer_close(struct bulk_gatherer *gatherer);

/* What is sealed with a piece: session, chunk, offset. */
#define PIECE_WITH_SIZE 24u
void piece_with(const struct request_id *session, uint32_t chunk, uint32_t offset,
                uint8_t with_out[PIECE_WITH_SIZE]);
/* Of a stream that begins: its two directions, to be ended in any case; and its first message. */
MUST_CHECK enum status bulk_seals_init(const struct stream_request *request, struct seal *from,
                                       struct seal *to);
/* Posts a result; takes the value. */
void bulk_post(const struct bulk_options *options, uint32_t kind, uint64_t id, enum status status,
               const struct reason *reason, void *value, void (*value_free)(void *value));

#endif
