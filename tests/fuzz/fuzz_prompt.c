/* fuzz_prompt.c - the prompt language: spans lie in the text, pieces are whole.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/prompt.h"

void fuzz_prompt(const uint8_t *bytes, size_t n)
{
    struct prompt p;
    char text[4096];
    size_t used = n < sizeof text - 1 ? n : sizeof text - 1;

    memcpy(text, bytes, used);
    text[used] = '\0';
    if (prompt_parse(&p, text, PROMPT_WEIGHTED, NULL) != UNSTIR_OK)
        return;
    for (size_t i = 0; i < p.n_spans; i++)
        if (p.spans[i].at + p.spans[i].n > p.n_text ||
            isnan(p.spans[i].weight) ||
            (p.spans[i].n == 0) != p.spans[i].is_break)
            abort();
    if (p.n_text > strlen(text))
        abort();
    prompt_fini(&p);
}

FUZZ_ENTRY(fuzz_prompt)
