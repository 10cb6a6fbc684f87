/* json_file.h - a JSON file of tests/data; the test fails if it is unreadable.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_JSON_FILE_H
#define SUPPORT_JSON_FILE_H

#include <stddef.h>

struct json;

/* json_free() ends it. */
struct json *json_file_open(const char *path);

/* json_parse() of a literal. */
struct json *json_text(const char *text);

/* Numbers of an array; returns how many, at most `max`. */
size_t json_floats(const struct json *array, float *out, size_t max);

#endif
