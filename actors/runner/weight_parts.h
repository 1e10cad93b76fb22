/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_parts: what weight_stream.c, weight_send.c and weight_receive.c share; for nobody else.
 *
 * One thread goes round: it looks at what was posted, gives the next work to the two workers and
 * posts what they have done.  Nothing in it waits for one sibling, so none holds up the others.
 */
#ifndef TROUPE_ACTORS_RUNNER_WEIGHT_PARTS_H
#define TROUPE_ACTORS_RUNNER_WEIGHT_PARTS_H

#include "actors/runner/side_worker.h"
#include "actors/runner/weight_batches.h"
#include "actors/runner/weight_pace.h"
#include "actors/runner/weight_stream.h"
#include "protocol/limits.h"

#define HEAD_MAGIC 0x57654967u
#define WORD_MAGIC 0x576f7264u
/* Batches on their way, and of each source awaited, at a time. */
#define BATCHES_AHEAD 8u
/* Those of a source: as many again are packed while MPI carries the others.  It often carries all
 * it has in one call, and what comes after must lie ready then. */
#define PARCELS_AHEAD (2 * BATCHES_AHEAD)
#define WORDS_MAX 128u

/* Before the bytes of each batch; little-endian as all ranks are of one build. */
struct batch_head {
    uint32_t magic;
    uint32_t batch;
    uint64_t size;
    struct mac check;
};

/* What a receiver tells those who send. */
enum word_kind {
    WORD_WHOLE,   /* to the source: its batches before `batch` are here */
    WORD_AGAIN,   /* to any that has it: send `batch` of what `source` sends */
    WORD_GAVE_UP, /* to all: nobody could send `batch` of `source` */
    WORD_ALIVE,   /* to all that send: more is wanted, and this rank is there */
    WORD_END      /* to all: nothing more is wanted */
};

struct stream_word {
    uint32_t magic;
    uint32_t kind;
    uint32_t source;
    uint32_t attempt; /* of WORD_AGAIN */
    uint64_t batch;
};

struct posted_word {
    struct stream_word word;
    uint32_t rank; /* that it goes to */
    uint32_t post;
    bool is_used;
};

/* What one rank's batches are made of and who sends this one: what its check is bound to. */
struct batch_name {
    uint32_t source;
    uint32_t receiver;
    uint32_t sender;
    uint32_t batch;
};

/* --- sending --- */

struct outgoing {
    uint32_t receiver;
    struct weight_batches *batches;
    size_t next; /* to be packed */
};

enum parcel_phase { PARCEL_FREE, PARCEL_PACKING, PARCEL_SENDING };

/* One batch that is packed and sent. */
struct parcel {
    struct stream *stream;
    struct batch_name name;
    const struct weight_batches *batches;
    int attempt;
    uint8_t *bytes; /* batch_size */
    struct batch_head head;
    enum parcel_phase phase;
    uint64_t job; /* the packer's */
    enum status status; /* of reading; `reason` says what failed */
    struct reason reason;
    uint64_t read_us;
    uint64_t check_us;
    uint32_t posts[2];
    bool are_through[2];
};

/* What a receiver wants again. */
struct owed {
    bool is_wanted;
    struct stream_word word;
};

/* --- receiving --- */

enum batch_state { BATCH_AWAITED, BATCH_GOOD, BATCH_DAMAGED };

/* One batch that is received and checked. */
struct arrival {
    struct stream *stream;
    struct batch_name name;
    const struct weight_batch *batch;
    uint8_t *target;
    struct batch_head head;
    uint32_t posts[2];
    bool are_through[2];
    bool is_checking;
    bool is_good;
    uint64_t job; /* the checker's */
    uint64_t check_us;
};

struct incoming {
    uint32_t source;
    struct weight_batches *batches;
    uint8_t *states; /* enum batch_state */
    size_t next;     /* to be posted */
    size_t oldest;   /* posted and not checked; arrivals[batch % BATCHES_AHEAD] */
    size_t told;     /* batches before it are of layers that were answered for */
    struct arrival arrivals[BATCHES_AHEAD];
};

struct mending {
    struct incoming *incoming; /* NULL: nothing is being mended */
    size_t batch;
    uint32_t attempt;
    bool is_asked; /* the holder was told */
    struct arrival arrival;
};

struct stream {
    const struct weight_stream_options *options;
    struct reason *reason;
    struct crypto_mac *mac;
    uint32_t own;
    uint32_t size;
    uint64_t batch_size;
    bool serves[RANK_COUNT_MAX];   /* it has some files */
    bool receives[RANK_COUNT_MAX]; /* it needs some of another */

    struct outgoing *outgoing;
    size_t outgoing_count;
    struct side_worker *packer;
    uint64_t packs_started;
    struct parcel parcels[PARCELS_AHEAD];
    uint8_t *parcel_bytes; /* of all parcels */
    struct parcel repair;
    struct weight_batches *repair_batches;
    struct owed owed[RANK_COUNT_MAX];

    struct incoming *incoming;
    size_t incoming_count;
    struct side_worker *checker;
    uint64_t checks_started;
    struct mending mending;
    bool is_end_told;

    struct posted_word words[WORDS_MAX];
    struct stream_word heard[RANK_COUNT_MAX];
    uint32_t heard_posts[RANK_COUNT_MAX];
    bool is_listening[RANK_COUNT_MAX]; /* a word of it is awaited */

    struct weight_pace pace;
    uint64_t bytes_through; /* to receivers */
    uint64_t told_alive_ms; /* by the pace's time, as the others */
    uint64_t signs_ms[RANK_COUNT_MAX]; /* when a rank was last heard of */

    _Atomic bool is_over; /* it failed: what is queued for packing is for nobody */

    uint64_t turn;
    bool has_moved; /* in this turn */
    uint64_t moved_us; /* when something last did */
    uint64_t bytes_have;
    uint64_t bytes_total;
    struct weight_stream_counters counters;
};

/* ---- weight_stream.c ---- */
bool stream_check_make(const struct stream *stream, const struct batch_name *name,
                       const uint8_t *bytes, uint64_t size, struct mac *check_out);
MUST_CHECK enum status stream_lost(struct stream *stream, uint32_t rank);
MUST_CHECK enum status stream_gave_up(struct stream *stream, uint32_t source, uint32_t receiver,
                                      uint64_t batch);
void stream_progress(struct stream *stream, uint64_t size);
/* Something of this rank came, or something got through to it. */
void stream_sign(struct stream *stream, uint32_t rank);
/* Looks at two posts of one message; true when both are through. */
MUST_CHECK enum status stream_look(struct stream *stream, uint32_t rank, const uint32_t posts[2],
                                   bool are_through[2]);
/* False when no more can be on their way now. */
bool stream_has_room(const struct stream *stream, size_t words);
MUST_CHECK enum status stream_tell(struct stream *stream, uint32_t rank,
                                   const struct stream_word *word);
/* To all ranks that send something, but not to this one. */
MUST_CHECK enum status stream_tell_sources(struct stream *stream, const struct stream_word *word);

/* ---- weight_send.c ---- */
MUST_CHECK enum status send_open(struct stream *stream);
void send_close(struct stream *stream);
MUST_CHECK enum status send_turn(struct stream *stream);
MUST_CHECK enum status send_again(struct stream *stream, uint32_t receiver,
                                  const struct stream_word *word);
bool send_is_done(const struct stream *stream);
/* Says what keeps the pace from being held. */
MUST_CHECK enum status send_is_slow(const struct stream *stream);

/* ---- weight_receive.c ---- */
MUST_CHECK enum status receive_open(struct stream *stream);
void receive_close(struct stream *stream);
MUST_CHECK enum status receive_turn(struct stream *stream);
bool receive_is_done(const struct stream *stream);

#endif
