/* fuzz_bpe.c - a tokenizer's files: what is accepted encodes any text.
 *
 * The bytes are up to four parts, each ended by a NUL: vocabulary, merges,
 * configuration, text.  The first byte tells which are given.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "text/bpe.h"

static const char *part(const char **text, size_t *n, size_t *length)
{
    const char *begin = *text;
    const char *end = *n ? memchr(begin, '\0', *n) : NULL;

    *length = end ? (size_t)(end - begin) : *n;
    *text += *length + (end ? 1 : 0);
    *n -= *length + (end ? 1 : 0);
    return begin;
}

void fuzz_bpe(const uint8_t *bytes, size_t n)
{
    const char *at = (const char *)bytes + 1;
    struct bpe_texts texts = {0};
    struct bpe_ids ids = {0};
    size_t left, n_text;
    const char *text;
    struct bpe *b;

    if (n == 0)
        return;
    left = n - 1;
    if (bytes[0] & 1)
        texts.vocab = part(&at, &left, &texts.n_vocab);
    if (bytes[0] & 2)
        texts.merges = part(&at, &left, &texts.n_merges);
    if (bytes[0] & 4)
        texts.config = part(&at, &left, &texts.n_config);
    if (bytes[0] & 8)
        texts.added = part(&at, &left, &texts.n_added);
    if (bpe_parse(&b, &texts, NULL) != UNSTIR_OK)
        return;
    text = part(&at, &left, &n_text);
    if (bpe_encode(b, &ids, text, n_text, NULL) == UNSTIR_OK)
        for (size_t i = 0; i < ids.n; i++)
            if (ids.ids[i] >= bpe_info(b)->n_tokens)
                abort();
    bpe_ids_fini(&ids);
    bpe_free(b);
}

FUZZ_ENTRY(fuzz_bpe)
