/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/link.h"

#include <string.h>

bool peer_equal(const struct peer *a, const struct peer *b)
{
    return a->link == b->link && a->route_size == b->route_size &&
           memcmp(a->route, b->route, a->route_size) == 0;
}

struct peer peer_of_link(uint32_t link)
{
    return (struct peer){.link = link};
}
