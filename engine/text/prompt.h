/* prompt.h - the prompt language: what is said, how strongly, in which pieces.
 *
 * Two syntaxes:
 *
 *   plain      the text as it is, cut at the encoder's length: the reference's
 *   weighted   what people write for the webui:
 *     (word) [word]         1.1 times stronger, weaker; they nest and multiply
 *     (word:1.3)            1.3 times
 *     \( \) \[ \] \\        the character itself
 *     BREAK                 the next piece begins here
 *     <lora:name:0.8>       also name:text:unet, name:te=0.5:unet=1,
 *                           <lyco:...>; taken out of the text
 *   A bracket that is never closed counts to the end; one that was never
 *   opened is text.  Words that change with the steps ([from:to:0.5], [a|b])
 *   and prompts joined by AND have no meaning here: they are text, weaker in
 *   square brackets.
 *
 * In the weighted syntax a text longer than an encoder's length (75 tokens
 * between BOS and EOS) goes on in further pieces, which are encoded one by
 * one and joined along the tokens.  A piece that would be cut within 20 tokens
 * of a comma ends behind the comma.  The rules are the webui's
 * (modules/prompt_parser.py, modules/sd_hijack_clip.py), but that BREAK keeps
 * its meaning within brackets.
 *
 * Any thread.  Errors of the text are UNSTIR_ERR_ARG, ceilings
 * UNSTIR_ERR_LIMIT.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEXT_PROMPT_H
#define TEXT_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define PROMPT_MAX_NESTING 64u
#define PROMPT_MAX_LORAS   16u
#define PROMPT_MAX_CHUNKS  32u
#define PROMPT_MAX_WEIGHT  100.0
#define PROMPT_MAX_SPANS   4096u

struct bpe;
struct inversions;

enum prompt_syntax { PROMPT_PLAIN, PROMPT_WEIGHTED };

/* false if there is none of that name. */
bool prompt_syntax_find(enum prompt_syntax *out, const char *name);

/* A stretch of one weight, of prompt.text; or a BREAK (n 0). */
struct prompt_span {
    size_t at, n;
    double weight;
    bool is_break;
};

struct prompt_lora {
    char name[256];
    double text_scale, unet_scale;
};

struct prompt {
    enum prompt_syntax syntax;
    char *text; /* without brackets, escapes and LoRAs                      */
    size_t n_text;
    struct prompt_span *spans;
    size_t n_spans, spans_capacity;
    struct prompt_lora *loras;
    size_t n_loras, loras_capacity;
};

/* On failure there is nothing to end. */
enum unstir_status prompt_parse(struct prompt *p, const char *text,
                                enum prompt_syntax syntax,
                                struct unstir_error *err);
void prompt_fini(struct prompt *p);

/* As unstir_prompt_loras(): what a weighted text asks for, a name once; room
 * for UNSTIR_MAX_LORAS. */
enum unstir_status prompt_lora_tags(const char *text,
                                    struct unstir_lora_tag *tags, size_t *n,
                                    struct unstir_error *err);

/* A prompt in pieces of an encoder's length: [n_chunks][length], BOS and EOS
 * included, filled up behind EOS with the tokenizer's pad.  Ids from
 * inversion_base on are rows of the inversions. */
struct prompt_chunks {
    uint32_t *ids;
    float *weights; /* 1 for BOS, EOS and padding                           */
    size_t n_chunks, ids_capacity, weights_capacity;
    uint32_t length;
    uint32_t inversion_base;
    size_t n_dropped; /* tokens that the plain syntax cut off               */
    bool is_weighted; /* a weight is not 1                                  */
};

/* length 3 or more; inversions may be NULL.  On failure there is nothing to
 * end. */
enum unstir_status prompt_tokenize(struct prompt_chunks *chunks,
                                   const struct prompt *p, const struct bpe *b,
                                   const struct inversions *inversions,
                                   uint32_t length, struct unstir_error *err);

/* Add pieces without text until there are n: prompts that are used together
 * must be of one length. */
enum unstir_status prompt_chunks_pad(struct prompt_chunks *chunks, size_t n,
                                     const struct bpe *b,
                                     struct unstir_error *err);
void prompt_chunks_fini(struct prompt_chunks *chunks);

#endif
