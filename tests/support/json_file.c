/* json_file.c - a JSON file of tests/data.
 *
 * SPDX-License-Identifier: MIT
 */
#include "json_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "format/json.h"

struct json *json_file_open(const char *path)
{
    struct unstir_error err;
    struct json *root;
    size_t n;
    char *text;

    if (mapfile_read(&text, &n, path, 0, &err))
        fail_msg("%s", err.detail);
    if (json_parse(&root, text, n, &err))
        fail_msg("%s: %s", path, err.detail);
    alloc_free(text);
    return root;
}

struct json *json_text(const char *text)
{
    struct unstir_error err;
    struct json *root;

    if (json_parse(&root, text, strlen(text), &err))
        fail_msg("%s: %s", text, err.detail);
    return root;
}

size_t json_floats(const struct json *array, float *out, size_t max)
{
    size_t n = json_len(array) < max ? json_len(array) : max;

    for (size_t i = 0; i < n; i++)
        out[i] = (float)json_real(json_at(array, i));
    return n;
}
