/* fuzz_json.c - JSON: what is accepted is written and read back the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"

static char *written(const struct json *v, bool is_indented)
{
    struct json_writer *w;
    char *text = NULL;
    if (json_writer_new(&w, NULL) != UNSTIR_OK)
        return NULL;
    json_put_value(w, NULL, v);
    (void)json_finish(&text, w, is_indented, NULL); /* NULL says it all */
    return text;
}

void fuzz_json(const uint8_t *bytes, size_t n)
{
    struct json *first, *second;
    struct unstir_error err;
    if (json_parse(&first, (const char *)bytes, n, &err) != UNSTIR_OK)
        return;
    char *text = written(first, false), *pretty = written(first, true);
    if (!text || !pretty ||
        json_parse(&second, pretty, strlen(pretty), &err) != UNSTIR_OK)
        abort();
    char *again = written(second, false);
    if (!again || strcmp(text, again) != 0)
        abort();
    alloc_free(again);
    alloc_free(pretty);
    alloc_free(text);
    json_free(second);
    json_free(first);
}

FUZZ_ENTRY(fuzz_json)
