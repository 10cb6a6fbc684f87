/* prompt_chunks.c - a prompt as tokens, in pieces of an encoder's length.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/alloc.h"
#include "text/bpe.h"
#include "text/inversion.h"
#include "text/prompt.h"
#include "text/words.h"

#define COMMA         ",</w>"
#define MAX_BACKTRACK 20 /* tokens between a comma and the cut moved to it */

struct filler {
    struct prompt_chunks *chunks;
    const struct prompt *p;
    const struct bpe *b;
    const struct inversions *inversions;
    uint32_t room;   /* tokens of a piece between BOS and EOS               */
    uint32_t n;      /* of the piece being filled                           */
    uint32_t n_kept; /* up to its last comma, which included                */
    uint32_t comma;
    bool has_comma;
    struct unstir_error *err;
};

/* The piece being filled: where its first token behind BOS goes. */
static size_t piece_at(const struct prompt_chunks *c)
{
    return (c->n_chunks - 1) * c->length + 1;
}

static enum unstir_status new_chunk(struct prompt_chunks *c,
                                    const struct bpe *b,
                                    struct unstir_error *err)
{
    const struct bpe_info *info = bpe_info(b);
    size_t n = c->n_chunks * c->length;

    if (c->n_chunks == PROMPT_MAX_CHUNKS)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "a prompt of more than %u pieces of %u tokens",
                         PROMPT_MAX_CHUNKS, c->length - 2);
    TRY(alloc_grow(&c->ids, &c->ids_capacity, n + c->length, sizeof *c->ids,
                   err));
    TRY(alloc_grow(&c->weights, &c->weights_capacity, n + c->length,
                   sizeof *c->weights, err));
    for (size_t i = 0; i < c->length; i++) {
        c->ids[n + i] = i == 0 ? info->bos : i == 1 ? info->eos : info->pad;
        c->weights[n + i] = 1;
    }
    c->n_chunks++;
    return UNSTIR_OK;
}

/* EOS goes behind what the piece holds now. */
static void end_piece(struct filler *f)
{
    f->chunks->ids[piece_at(f->chunks) + f->n] = bpe_info(f->b)->eos;
}

static enum unstir_status next_piece(struct filler *f)
{
    TRY(new_chunk(f->chunks, f->b, f->err));
    f->n = f->n_kept = 0;
    return UNSTIR_OK;
}

static void put(struct filler *f, uint32_t id, float weight)
{
    size_t at = piece_at(f->chunks) + f->n++;

    f->chunks->ids[at] = id;
    f->chunks->weights[at] = weight;
    f->chunks->is_weighted |= weight != 1;
    end_piece(f);
}

/* Begin a new piece; what stands behind the last comma goes with it if the
 * comma is near. */
static enum unstir_status wrap(struct filler *f)
{
    size_t from = piece_at(f->chunks) + f->n_kept;
    uint32_t n = f->n - f->n_kept;
    bool moves = f->n_kept && n && n < MAX_BACKTRACK;
    uint32_t pad = bpe_info(f->b)->pad;

    TRY(next_piece(f));
    for (uint32_t i = 0; moves && i < n; i++) {
        put(f, f->chunks->ids[from + i], f->chunks->weights[from + i]);
        f->chunks->ids[from + i] = i ? pad : bpe_info(f->b)->eos;
        f->chunks->weights[from + i] = 1;
    }
    if (moves)
        f->chunks->ids[from + n] = pad;
    return UNSTIR_OK;
}

/* Make room for one more token; a comma that does not fit takes nothing with
 * it. */
static enum unstir_status make_room(struct filler *f, bool is_comma)
{
    if (f->n < f->room)
        return UNSTIR_OK;
    return is_comma ? next_piece(f) : wrap(f);
}

static enum unstir_status put_token(struct filler *f, uint32_t id, float weight)
{
    bool is_comma = f->has_comma && id == f->comma;
    bool is_full = f->n == f->room;

    if (is_full && f->p->syntax == PROMPT_PLAIN) {
        f->chunks->n_dropped++;
        return UNSTIR_OK;
    }
    TRY(make_room(f, is_comma));
    put(f, id, weight);
    if (is_comma && !is_full)
        f->n_kept = f->n;
    return UNSTIR_OK;
}

static enum unstir_status put_inversion(struct filler *f,
                                        const struct inversion *v, float weight)
{
    if (f->p->syntax == PROMPT_WEIGHTED) {
        TRY(make_room(f, false));
        if (f->n && f->n + v->n_vectors > f->room)
            TRY(next_piece(f));
    }
    for (uint32_t i = 0; i < v->n_vectors; i++)
        TRY(put_token(f, f->chunks->inversion_base + v->first + i, weight));
    return UNSTIR_OK;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Whether the name stands at `at`, not as a part of a longer word. */
static bool stands_at(const char *name, size_t n_name, const char *text,
                      size_t n, size_t at)
{
    size_t end = at + n_name;

    if (n_name == 0 || n_name > n - at)
        return false;
    for (size_t i = 0; i < n_name; i++)
        if (lower(name[i]) != lower(text[at + i]))
            return false;
    return !words_joined(text, n, at) && !words_joined(text, n, end);
}

/* The inversion with the longest name there; *n_name is its length. */
static const struct inversion *inversion_at(const struct inversions *set,
                                            const char *text, size_t n,
                                            size_t at, size_t *n_name)
{
    const struct inversion *best = NULL;

    *n_name = 0;
    for (size_t i = 0; set && i < set->n; i++) {
        size_t length = strlen(set->list[i].name);

        if (length > *n_name &&
            stands_at(set->list[i].name, length, text, n, at)) {
            best = &set->list[i];
            *n_name = length;
        }
    }
    return best;
}

static enum unstir_status put_text(struct filler *f, const char *text, size_t n,
                                   float weight)
{
    struct bpe_ids ids = {0};
    enum unstir_status status = bpe_encode(f->b, &ids, text, n, f->err);

    for (size_t i = 0; status == UNSTIR_OK && i < ids.n; i++)
        status = put_token(f, ids.ids[i], weight);
    bpe_ids_fini(&ids);
    return status;
}

static enum unstir_status put_span(struct filler *f,
                                   const struct prompt_span *span)
{
    const char *text = f->p->text + span->at;
    size_t begin = 0, n_name;
    float weight = (float)span->weight;

    if (span->is_break)
        return next_piece(f);
    for (size_t at = 0; at < span->n; at++) {
        const struct inversion *v =
            inversion_at(f->inversions, text, span->n, at, &n_name);

        if (!v)
            continue;
        TRY(put_text(f, text + begin, at - begin, weight));
        TRY(put_inversion(f, v, weight));
        begin = at + n_name;
        at = begin - 1;
    }
    return put_text(f, text + begin, span->n - begin, weight);
}

static enum unstir_status fill(struct filler *f)
{
    TRY(next_piece(f));
    for (size_t i = 0; i < f->p->n_spans; i++)
        TRY(put_span(f, &f->p->spans[i]));
    if (f->n == 0 && f->chunks->n_chunks > 1)
        f->chunks->n_chunks--; /* a BREAK at the end */
    return UNSTIR_OK;
}

enum unstir_status prompt_tokenize(struct prompt_chunks *chunks,
                                   const struct prompt *p, const struct bpe *b,
                                   const struct inversions *inversions,
                                   uint32_t length, struct unstir_error *err)
{
    struct filler f = {.chunks = chunks,
                       .p = p,
                       .b = b,
                       .inversions = inversions,
                       .room = length - 2,
                       .err = err};
    enum unstir_status status;

    *chunks = (struct prompt_chunks){.length = length,
                                     .inversion_base = bpe_info(b)->n_tokens};
    f.has_comma = bpe_find(b, &f.comma, COMMA, strlen(COMMA));
    status = fill(&f);
    if (status != UNSTIR_OK)
        prompt_chunks_fini(chunks);
    return status;
}

enum unstir_status prompt_chunks_pad(struct prompt_chunks *chunks, size_t n,
                                     const struct bpe *b,
                                     struct unstir_error *err)
{
    while (chunks->n_chunks < n)
        TRY(new_chunk(chunks, b, err));
    return UNSTIR_OK;
}

void prompt_chunks_fini(struct prompt_chunks *chunks)
{
    alloc_free(chunks->ids);
    alloc_free(chunks->weights);
    *chunks = (struct prompt_chunks){0};
}
