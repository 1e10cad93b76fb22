/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/kv_shape.h"

uint64_t kv_block_bytes(uint32_t dim, enum kv_format format)
{
    switch (format) {
    case KV_INT8:
        return (uint64_t)KV_PAGE_POSITIONS * (dim + (dim ? sizeof(float) : 0));
    case KV_BF16:
        return (uint64_t)KV_PAGE_POSITIONS * dim * 2;
    case KV_F32:
    case KV_F16:
    case KV_FORMAT_NONE:
    case KV_FORMAT_END:
        break;
    }
    return (uint64_t)KV_PAGE_POSITIONS * dim * sizeof(float);
}

uint64_t kv_head_bytes(const struct kv_layer *layer, enum kv_format format)
{
    return kv_block_bytes(layer->key_dim, format) + kv_block_bytes(layer->value_dim, format);
}

void kv_sizes_add(struct kv_sizes *sizes, const struct kv_layer *layer, uint32_t count,
                  enum kv_format format)
{
    if (layer->state_floats)
        sizes->state_bytes += (uint64_t)count * layer->state_floats * sizeof(float);
    else if (layer->window)
        sizes->ring_page_bytes += (uint64_t)count * layer->heads * kv_head_bytes(layer, format);
    else
        sizes->page_bytes += (uint64_t)count * layer->heads * kv_head_bytes(layer, format);
    if (layer->window > sizes->window)
        sizes->window = layer->window;
}

uint64_t kv_page_count(uint64_t positions)
{
    return positions / KV_PAGE_POSITIONS + (positions % KV_PAGE_POSITIONS != 0);
}

uint64_t kv_ring_pages(const struct kv_sizes *sizes, uint64_t pages, uint32_t rows)
{
    const uint64_t needed = ((uint64_t)sizes->window + rows) / KV_PAGE_POSITIONS + 1;
    if (sizes->window == 0)
        return 0;
    return needed < pages ? needed : pages;
}

uint64_t kv_own_bytes(const struct kv_sizes *sizes, uint64_t pages, uint32_t rows)
{
    return kv_ring_pages(sizes, pages, rows) * sizes->ring_page_bytes + sizes->state_bytes;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    return b && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t kv_total_bytes(const struct kv_sizes *sizes, uint64_t positions, uint32_t sequences,
                        uint32_t rows)
{
    const uint64_t pages = kv_page_count(positions);
    const uint64_t lists = 1 + (uint64_t)sequences * (sizes->window ? 2 : 1);
    const uint64_t tables = times(times(pages, lists), sizeof(void *));
    const uint64_t own = times(kv_own_bytes(sizes, pages, rows), sequences);
    return plus(plus(times(sizes->page_bytes, pages), own), tables);
}
