/* SPDX-License-Identifier: Apache-2.0 */
/*
 * assert: our own bugs abort, in release builds too; the supervisor records the death.
 *
 * Never used on what a peer, a file or a user said: that is refused with a status.
 */
#ifndef TROUPE_PROTOCOL_ASSERT_H
#define TROUPE_PROTOCOL_ASSERT_H

_Noreturn void assert_failed(const char *expression, const char *file, int line);

/* `condition` has no side effects. */
#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            assert_failed(#condition, __FILE__, __LINE__);                                         \
    } while (0)

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_index)                                                     \
    __attribute__((format(printf, format_index, first_index)))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
