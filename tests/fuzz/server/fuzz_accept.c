/* fuzz_accept.c - list headers, whatever is in them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server_fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "accept.h"
#include "request.h"

void fuzz_accept(const uint8_t *bytes, size_t n)
{
    struct request *request = mem_zero(1, sizeof *request);
    char *text = mem_zero(n + 1, 1);
    const char *value = "";
    enum unstir_format format = UNSTIR_FORMAT_PNG;

    if (request)
        request->arena = mem_arena_new(1u << 20);
    if (text && request && request->arena) {
        memcpy(text, bytes, n);
        request->headers[0] = (struct request_pair){"Prefer", text};
        request->headers[1] = (struct request_pair){"If-None-Match", text};
        request->n_headers = 2;
        if (accept_form(text, 1, NULL, &format) > FORM_NONE ||
            accept_form(text, 3, "image/jpeg", &format) > FORM_NONE ||
            (unsigned)format >= UNSTIR_N_FORMATS)
            abort();
        if (request_prefers(request, "wait", &value) && strlen(value) > n)
            abort();
        (void)request_none_match(request, "\"a-1\"");
    }
    mem_free(text);
    if (request)
        mem_arena_free(request->arena);
    mem_free(request);
}

FUZZ_ENTRY(fuzz_accept)
