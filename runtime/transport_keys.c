/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/memory.h"
#include "runtime/transport_internal.h"

#include <string.h>

bool key_list_has(const struct key_list *list, const struct public_key *key)
{
    for (size_t i = 0; i < list->count; i++) {
        if (ID_EQUAL(list->items[i], *key))
            return true;
    }
    return false;
}

enum status key_list_add(struct key_list *list, const struct public_key *key)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 8;
        struct public_key *items = memory_resized(list->items, capacity, sizeof(*items));
        if (!items)
            return STATUS_NO_MEMORY;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = *key;
    return STATUS_OK;
}

void key_list_fini(struct key_list *list)
{
    memory_free(list->items);
    *list = (struct key_list){0};
}

enum status fd_list_add(struct fd_list *list, int fd)
{
    if (fd_list_has(list, fd))
        return STATUS_OK;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 8;
        int *items = memory_resized(list->items, capacity, sizeof(*items));
        if (!items)
            return STATUS_NO_MEMORY;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = fd;
    return STATUS_OK;
}

bool fd_list_remove(struct fd_list *list, int fd)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i] == fd) {
            list->items[i] = list->items[--list->count];
            return true;
        }
    }
    return false;
}

bool fd_list_has(const struct fd_list *list, int fd)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i] == fd)
            return true;
    }
    return false;
}

void fd_list_fini(struct fd_list *list)
{
    memory_free(list->items);
    *list = (struct fd_list){0};
}
