/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_program: runs a program to its end and reads what it says.
 */
#ifndef TROUPE_TESTS_SUPPORT_RUN_PROGRAM_H
#define TROUPE_TESTS_SUPPORT_RUN_PROGRAM_H

#include <stddef.h>

/* `arguments[0]` is the program's path; the list ends with NULL.  `text_out` gets standard output
 * and standard error as one text, cut at `text_size`, NUL after it; both are repeated as TAP
 * comments.  Returns the exit code, or 256 + the signal that killed it. */
int run_program(const char *const *arguments, char *text_out, size_t text_size);

#endif
