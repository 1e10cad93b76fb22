/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The format, version 1.  Numbers are little-endian; "zeros" are written and checked as such.
 *
 * Record (from a multiple of 8; the next one follows at once)
 *
 *   OFFSET  SIZE  DESCRIPTION
 *        0     4  magic "TREC"
 *        4     4  CRC32C of bytes 8 to 103
 *        8     4  n, the size of the body
 *       12     4  CRC32C of the body and its padding
 *       16     2  kind of the body
 *       18     6  zeros
 *       24     8  index, from 1
 *       32     8  epoch: number
 *       40    16  epoch: node id of the leader
 *       56     8  time, milliseconds since 1970
 *       64     8  the index this node had acknowledged when it wrote the record (not in the chain:
 *                 it differs from node to node)
 *       72    32  chain: BLAKE2b-256 of (chain of the record before, bytes 8 to 63, body)
 *      104     n  body
 *    104+n        zeros up to a multiple of 8
 *
 * Segment: this header, then records.  It is made whole under another name and renamed, so a
 * segment without a valid header is damaged, never torn.
 *
 *   OFFSET  SIZE  DESCRIPTION
 *        0     8  magic "TROUPLOG"
 *        8     4  version, 1
 *       12     4  size of this header, 128
 *       16    16  cluster id
 *       32     8  index of the first record
 *       40     8  epoch of the record before: number
 *       48    16  epoch of the record before: node id
 *       64    32  chain of the record before; before index 1: BLAKE2b-256 of
 *                 ("troupe event log 1", cluster id)
 *       96    28  zeros
 *      124     4  CRC32C of bytes 0 to 123
 *
 * Snapshot: this header, then the state; made whole under another name and renamed.
 *
 *   OFFSET  SIZE  DESCRIPTION
 *        0     8  magic "TROUPSNP"
 *        8     4  version, 1
 *       12     4  1: installed from a peer, the log begins after it; 0: made here
 *       16    16  cluster id
 *       32     8  index of the last event in the state
 *       40     8  epoch of that event: number
 *       48    16  epoch of that event: node id
 *       64    32  chain of that event
 *       96    32  hash of the state, as the owner gave it
 *      128     8  n, the size of the state
 *      136     4  CRC32C of the state
 *      140    48  zeros
 *      188     4  CRC32C of bytes 0 to 187
 *      192     n  state
 *
 * Mark: the value in the slots (slot_file.c).
 *
 *   OFFSET  SIZE  DESCRIPTION
 *        0     8  index of the last acknowledged event, 0: none
 *        8    32  its chain
 *       40     8  first index of the segment it is in
 *       48     8  offset of the first byte after it in that segment
 */
#include "runtime/event_log_format.h"

#include "runtime/bytes.h"
#include "runtime/crc32c.h"

#include <string.h>

static const char record_magic[4] = {'T', 'R', 'E', 'C'};
static const char segment_magic[8] = {'T', 'R', 'O', 'U', 'P', 'L', 'O', 'G'};
static const char snapshot_magic[8] = {'T', 'R', 'O', 'U', 'P', 'S', 'N', 'P'};
#define FORMAT_VERSION 1
#define CHAINED_FROM 8
#define CHAINED_TO 64

int event_epoch_compare(const struct event_epoch *a, const struct event_epoch *b)
{
    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    return memcmp(a->leader.bytes, b->leader.bytes, sizeof(a->leader.bytes));
}

void chain_genesis(const struct cluster_id *cluster, struct hash *chain_out)
{
    static const char text[] = "troupe event log 1";
    struct hash_stream stream;
    hash_init(&stream);
    hash_update(&stream, text, sizeof(text) - 1);
    hash_update(&stream, cluster->bytes, sizeof(cluster->bytes));
    hash_final(&stream, chain_out);
}

static void epoch_put(uint8_t *at, const struct event_epoch *epoch)
{
    put_u64(at, epoch->number);
    memcpy(at + 8, epoch->leader.bytes, sizeof(epoch->leader.bytes));
}

static void epoch_get(const uint8_t *at, struct event_epoch *epoch_out)
{
    epoch_out->number = get_u64(at);
    memcpy(epoch_out->leader.bytes, at + 8, sizeof(epoch_out->leader.bytes));
}

static void chain_next(const struct hash *before, const uint8_t *header, const uint8_t *body,
                       size_t body_size, struct hash *chain_out)
{
    struct hash_stream stream;
    hash_init(&stream);
    hash_update(&stream, before->bytes, sizeof(before->bytes));
    hash_update(&stream, header + CHAINED_FROM, CHAINED_TO - CHAINED_FROM);
    hash_update(&stream, body, body_size);
    hash_final(&stream, chain_out);
}

/* The part of the header that is chained, and the magic. */
static void record_header_begin(uint8_t *header, const struct event_record *record)
{
    static const uint8_t zeros[8] = {0};
    size_t padding = event_record_size(record->body_size) - RECORD_HEADER_SIZE - record->body_size;
    uint32_t crc = crc32c(0, record->body, record->body_size);
    memset(header, 0, RECORD_HEADER_SIZE);
    memcpy(header, record_magic, sizeof(record_magic));
    put_u32(header + 8, (uint32_t)record->body_size);
    put_u32(header + 12, crc32c(crc, zeros, padding));
    put_u16(header + 16, record->kind);
    put_u64(header + 24, record->stamp.index);
    epoch_put(header + 32, &record->stamp.epoch);
    put_u64(header + 56, record->time_ms);
}

void event_record_chain_encoded(const uint8_t *bytes, const struct hash *before,
                                struct hash *chain_out)
{
    chain_next(before, bytes, bytes + RECORD_HEADER_SIZE, get_u32(bytes + 8), chain_out);
}

void event_record_chain(const struct event_record *record, const struct hash *before,
                        struct hash *chain_out)
{
    uint8_t header[RECORD_HEADER_SIZE];
    record_header_begin(header, record);
    chain_next(before, header, record->body, record->body_size, chain_out);
}

void event_record_encode(uint8_t *bytes_out, struct event_record *record,
                         const struct hash *before, uint64_t durable_index)
{
    ASSERT(record->body_size <= EVENT_BODY_SIZE_MAX);
    size_t size = event_record_size(record->body_size);
    record_header_begin(bytes_out, record);
    put_u64(bytes_out + 64, durable_index);
    chain_next(before, bytes_out, record->body, record->body_size, &record->stamp.chain);
    memcpy(bytes_out + 72, record->stamp.chain.bytes, sizeof(record->stamp.chain.bytes));
    put_u32(bytes_out + 4, crc32c(0, bytes_out + 8, RECORD_HEADER_SIZE - 8));
    memset(bytes_out + size - 8, 0, size > RECORD_HEADER_SIZE ? 8 : 0);
    if (record->body_size > 0)
        memcpy(bytes_out + RECORD_HEADER_SIZE, record->body, record->body_size);
}

void segment_header_encode(uint8_t *bytes_out, const struct segment_header *header)
{
    memset(bytes_out, 0, SEGMENT_HEADER_SIZE);
    memcpy(bytes_out, segment_magic, sizeof(segment_magic));
    put_u32(bytes_out + 8, FORMAT_VERSION);
    put_u32(bytes_out + 12, SEGMENT_HEADER_SIZE);
    memcpy(bytes_out + 16, header->cluster.bytes, sizeof(header->cluster.bytes));
    put_u64(bytes_out + 32, header->base.index + 1);
    epoch_put(bytes_out + 40, &header->base.epoch);
    memcpy(bytes_out + 64, header->base.chain.bytes, sizeof(header->base.chain.bytes));
    put_u32(bytes_out + 124, crc32c(0, bytes_out, 124));
}

enum status segment_header_decode(const uint8_t *bytes, struct segment_header *header_out,
                                  const char **why_out)
{
    *why_out = "the segment's header does not begin with its magic";
    if (memcmp(bytes, segment_magic, sizeof(segment_magic)) != 0)
        return STATUS_MALFORMED;
    *why_out = "the checksum of the segment's header does not hold";
    if (get_u32(bytes + 124) != crc32c(0, bytes, 124) || get_u64(bytes + 32) == 0)
        return STATUS_MALFORMED;
    *why_out = "the segment is of another version of the format; use the program that wrote it";
    if (get_u32(bytes + 8) != FORMAT_VERSION || get_u32(bytes + 12) != SEGMENT_HEADER_SIZE)
        return STATUS_VERSION;
    memcpy(header_out->cluster.bytes, bytes + 16, sizeof(header_out->cluster.bytes));
    header_out->base.index = get_u64(bytes + 32) - 1;
    epoch_get(bytes + 40, &header_out->base.epoch);
    memcpy(header_out->base.chain.bytes, bytes + 64, sizeof(header_out->base.chain.bytes));
    return STATUS_OK;
}

void snapshot_header_encode(uint8_t *bytes_out, const struct snapshot_header *header)
{
    memset(bytes_out, 0, SNAPSHOT_HEADER_SIZE);
    memcpy(bytes_out, snapshot_magic, sizeof(snapshot_magic));
    put_u32(bytes_out + 8, FORMAT_VERSION);
    put_u32(bytes_out + 12, header->installed ? 1 : 0);
    memcpy(bytes_out + 16, header->cluster.bytes, sizeof(header->cluster.bytes));
    put_u64(bytes_out + 32, header->stamp.index);
    epoch_put(bytes_out + 40, &header->stamp.epoch);
    memcpy(bytes_out + 64, header->stamp.chain.bytes, sizeof(header->stamp.chain.bytes));
    memcpy(bytes_out + 96, header->state_hash.bytes, sizeof(header->state_hash.bytes));
    put_u64(bytes_out + 128, header->state_size);
    put_u32(bytes_out + 136, header->state_crc);
    put_u32(bytes_out + 188, crc32c(0, bytes_out, 188));
}

bool snapshot_header_decode(const uint8_t *bytes, struct snapshot_header *header_out)
{
    if (memcmp(bytes, snapshot_magic, sizeof(snapshot_magic)) != 0 ||
        get_u32(bytes + 188) != crc32c(0, bytes, 188) || get_u32(bytes + 8) != FORMAT_VERSION)
        return false;
    *header_out = (struct snapshot_header){.installed = get_u32(bytes + 12) == 1};
    memcpy(header_out->cluster.bytes, bytes + 16, sizeof(header_out->cluster.bytes));
    header_out->stamp.index = get_u64(bytes + 32);
    epoch_get(bytes + 40, &header_out->stamp.epoch);
    memcpy(header_out->stamp.chain.bytes, bytes + 64, sizeof(header_out->stamp.chain.bytes));
    memcpy(header_out->state_hash.bytes, bytes + 96, sizeof(header_out->state_hash.bytes));
    header_out->state_size = get_u64(bytes + 128);
    header_out->state_crc = get_u32(bytes + 136);
    return true;
}

void mark_encode(const struct mark *mark, uint8_t *value_out)
{
    put_u64(value_out, mark->index);
    memcpy(value_out + 8, mark->chain.bytes, sizeof(mark->chain.bytes));
    put_u64(value_out + 40, mark->segment_first_index);
    put_u64(value_out + 48, mark->offset);
}

struct mark mark_decode(const uint8_t *value)
{
    struct mark mark = {.index = get_u64(value),
                        .segment_first_index = get_u64(value + 40),
                        .offset = get_u64(value + 48)};
    memcpy(mark.chain.bytes, value + 8, sizeof(mark.chain.bytes));
    return mark;
}
