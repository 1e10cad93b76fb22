/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sanitized: is this test built with the address or the thread sanitizer, where the same code takes
 * up to twenty times as long?  A test whose cost is repetition repeats less there: what it touches
 * is the same, and the plain build runs all of it.
 *
 * Owner, memory: none.  Threads: any.  Fails: never.
 */
#ifndef TROUPE_TESTS_SUPPORT_SANITIZED_H
#define TROUPE_TESTS_SUPPORT_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#ifndef UNDER_SANITIZER
#define UNDER_SANITIZER 0
#endif

/* How often: so many times in the plain build, so many under a sanitizer. */
#define TIMES(plain, sanitized) (UNDER_SANITIZER ? (sanitized) : (plain))

#endif
