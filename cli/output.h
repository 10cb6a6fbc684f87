/* output.h - result files: never half written, never overwritten by accident;
 * and input files as memory.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

/* An error is printed and the exit code returned unless `path` is free, or
 * is_forced, or "-"; 0 when it can be written. */
int output_check(const char *path, bool is_forced);

/* `path` or, if that exists, the first free of name-2.png, name-3.png ...
 * written to out. */
void output_number(char *out, size_t size, const char *path);

/* Write beside the place and rename, "-" is stdout; 0 or the exit code, with
 * the error printed. */
int output_write(const char *path, const void *bytes, size_t n);

/* A whole file ("-": stdin) of at most 1 GiB; free() ends *bytes. */
int input_read(unsigned char **bytes, size_t *n, const char *path);

#endif
