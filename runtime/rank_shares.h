/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank_shares: how much of a model each rank carries, as every interface shows it.
 *
 * Memory   none.
 * Threads  any; pure.
 */
#ifndef TROUPE_RUNTIME_RANK_SHARES_H
#define TROUPE_RUNTIME_RANK_SHARES_H

#include "protocol/state.h"

#define RANK_SHARE_ALL 10000u /* hundredths of a percent */

/* Sets `share` of each rank: of the weights, all together RANK_SHARE_ALL; none of a source. */
void rank_shares_set(struct rank_record *ranks, uint32_t count);
/* A tensor cut whose ranks hold more unlike numbers of units than rounding to whole units makes. */
bool ranks_are_asymmetric(enum sharding sharding, const struct rank_record *ranks, uint32_t count);
/* "tensor", "asymmetric tensor"; never NULL. */
const char *sharding_title(uint32_t sharding, bool is_asymmetric);

#endif
