/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/chunk_ledger.h"

#include "protocol/memory.h"
#include "runtime/bytes.h"
#include "runtime/crc32c.h"

#include <string.h>

#define LEDGER_VERSION 2u
#define CRC_OFFSET 96u

static const uint8_t magic[8] = {'T', 'R', 'O', 'U', 'P', 'E', 'C', 'L'};

enum status chunk_ledger_init(struct chunk_ledger *ledger, const char *etag, uint64_t file_size,
                              struct reason *reason)
{
    const uint64_t count = file_size / LEDGER_CHUNK_SIZE + (file_size % LEDGER_CHUNK_SIZE > 0);
    memset(ledger, 0, sizeof(*ledger));
    if (count > LEDGER_CHUNK_COUNT_MAX || strlen(etag) >= sizeof(ledger->etag))
        return refuse(reason, STATUS_TOO_LARGE, "a file of %llu bytes is too large",
                      (unsigned long long)file_size);
    memcpy(ledger->etag, etag, strlen(etag));
    ledger->file_size = file_size;
    ledger->chunk_count = (uint32_t)count;
    ledger->states = memory_zeroed(count, sizeof(*ledger->states));
    ledger->hashes = memory_zeroed(count, sizeof(*ledger->hashes));
    if (!ledger->states || !ledger->hashes) {
        chunk_ledger_fini(ledger);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of chunks");
    }
    return STATUS_OK;
}

void chunk_ledger_fini(struct chunk_ledger *ledger)
{
    memory_free(ledger->states);
    memory_free(ledger->hashes);
    memset(ledger, 0, sizeof(*ledger));
}

uint32_t chunk_size_of(const struct chunk_ledger *ledger, uint32_t chunk)
{
    const uint64_t rest = ledger->file_size - (uint64_t)chunk * LEDGER_CHUNK_SIZE;
    return rest < LEDGER_CHUNK_SIZE ? (uint32_t)rest : LEDGER_CHUNK_SIZE;
}

void chunk_ledger_head(const struct chunk_ledger *ledger, uint8_t head_out[LEDGER_HEAD_SIZE])
{
    memset(head_out, 0, LEDGER_HEAD_SIZE);
    memcpy(head_out, magic, sizeof(magic));
    put_u32(head_out + 8, LEDGER_VERSION);
    put_u32(head_out + 12, LEDGER_CHUNK_SIZE);
    put_u64(head_out + 16, ledger->file_size);
    memcpy(head_out + 24, ledger->etag, sizeof(ledger->etag));
    put_u32(head_out + CRC_OFFSET, crc32c(0, head_out, CRC_OFFSET));
}

static uint32_t record_crc(const uint8_t *record)
{
    return crc32c(crc32c(0, record, 4), record + 8, sizeof(struct hash));
}

size_t chunk_ledger_recover(struct chunk_ledger *ledger, const uint8_t *bytes, size_t size)
{
    uint8_t head[LEDGER_HEAD_SIZE];
    chunk_ledger_head(ledger, head);
    if (size < LEDGER_HEAD_SIZE || memcmp(head, bytes, LEDGER_HEAD_SIZE) != 0)
        return 0;
    return LEDGER_HEAD_SIZE +
           chunk_ledger_take(ledger, bytes + LEDGER_HEAD_SIZE, size - LEDGER_HEAD_SIZE);
}

static void set_state(struct chunk_ledger *ledger, uint32_t chunk, enum chunk_state state)
{
    ledger->here_count -= ledger->states[chunk] == CHUNK_HERE;
    ledger->here_count += state == CHUNK_HERE;
    ledger->states[chunk] = (uint8_t)state;
}

size_t chunk_ledger_take(struct chunk_ledger *ledger, const uint8_t *bytes, size_t size)
{
    size_t at = 0;
    while (size - at >= LEDGER_RECORD_SIZE) {
        const uint8_t *record = bytes + at;
        const uint32_t chunk = get_u32(record);
        if (chunk >= ledger->chunk_count || get_u32(record + 4) != record_crc(record))
            break;
        memcpy(&ledger->hashes[chunk], record + 8, sizeof(struct hash));
        set_state(ledger, chunk, CHUNK_LISTED);
        at += LEDGER_RECORD_SIZE;
    }
    return at;
}

void chunk_ledger_add(struct chunk_ledger *ledger, uint32_t chunk, const struct hash *hash,
                      uint8_t record_out[LEDGER_RECORD_SIZE])
{
    ASSERT(chunk < ledger->chunk_count);
    ledger->hashes[chunk] = *hash;
    set_state(ledger, chunk, CHUNK_HERE);
    put_u32(record_out, chunk);
    memcpy(record_out + 8, hash, sizeof(*hash));
    put_u32(record_out + 4, record_crc(record_out));
}

void chunk_ledger_judge(struct chunk_ledger *ledger, uint32_t chunk, const struct hash *hash)
{
    ASSERT(chunk < ledger->chunk_count && ledger->states[chunk] == CHUNK_LISTED);
    set_state(ledger, chunk, ID_EQUAL(ledger->hashes[chunk], *hash) ? CHUNK_HERE : CHUNK_ABSENT);
}

void chunk_ledger_trust(struct chunk_ledger *ledger, uint32_t chunk)
{
    ASSERT(chunk < ledger->chunk_count && ledger->states[chunk] != CHUNK_ABSENT);
    set_state(ledger, chunk, CHUNK_HERE);
}

void chunk_ledger_doubt(struct chunk_ledger *ledger, uint32_t chunk)
{
    ASSERT(chunk < ledger->chunk_count && ledger->states[chunk] == CHUNK_HERE);
    set_state(ledger, chunk, CHUNK_LISTED);
}

void chunk_ledger_forget(struct chunk_ledger *ledger, uint32_t chunk)
{
    ASSERT(chunk < ledger->chunk_count);
    set_state(ledger, chunk, CHUNK_ABSENT);
}
