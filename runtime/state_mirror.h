/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_mirror: lives in protocol/, since clients outside the runtime keep one too.
 */
#ifndef TROUPE_RUNTIME_STATE_MIRROR_H
#define TROUPE_RUNTIME_STATE_MIRROR_H

#include "protocol/state_mirror.h"

#endif
