/* prompt.c - reading the prompt language.
 *
 * One pass over the text: characters go to the clean text, a change of weight
 * ends a span.  A bracket remembers the span it began with; closing it
 * multiplies the weights of all spans since.
 *
 * SPDX-License-Identifier: MIT
 */
#include "text/prompt.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "text/bpe.h"
#include "text/words.h"

#define STRONGER   1.1
#define BREAK_WORD "BREAK"
#define LORA_TAG   "<lora:"
#define LYCO_TAG   "<lyco:" /* as long: the same to an older extension      */

#define HYPERNET_TAG "<hypernet:"

struct reader {
    struct prompt *p;
    const char *text;
    size_t at, n;
    size_t round[PROMPT_MAX_NESTING], square[PROMPT_MAX_NESTING];
    size_t n_round, n_square;
    struct unstir_error *err;
};

static const struct {
    const char *name;
    enum prompt_syntax syntax;
} syntaxes[] = {{"plain", PROMPT_PLAIN}, {"weighted", PROMPT_WEIGHTED}};

bool prompt_syntax_find(enum prompt_syntax *out, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(syntaxes); i++) {
        if (strcmp(syntaxes[i].name, name) == 0) {
            *out = syntaxes[i].syntax;
            return true;
        }
    }
    return false;
}

/* -- characters -------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void trim(const char **text, size_t *n)
{
    for (; *n && is_space(**text); ++*text)
        --*n;
    while (*n && is_space((*text)[*n - 1]))
        --*n;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A decimal number of n characters, whatever the locale; false if it is none.
 * 15 digits are exact in a double, and so is their power of ten; those that
 * follow a point are dropped (sliders write 1.2000000000000002). */
static bool read_number(double *out, const char *text, size_t n)
{
    double value = 0, scale = 1;
    size_t i = 0, digits = 0;
    bool has_point = false;

    if (n && (text[0] == '-' || text[0] == '+'))
        i++;
    for (; i < n; i++) {
        if (text[i] == '.' && !has_point) {
            has_point = true;
            continue;
        }
        if (!is_digit(text[i]) || (++digits > 15 && !has_point))
            return false;
        if (digits > 15)
            continue;
        value = value * 10 + (text[i] - '0');
        scale *= has_point ? 10 : 1;
    }
    *out = (n && text[0] == '-' ? -value : value) / scale;
    return digits > 0;
}

static enum unstir_status read_weight(double *out, const char *text, size_t n,
                                      const char *what,
                                      struct unstir_error *err)
{
    int shown = (int)(n < 40 ? n : 40);

    if (!read_number(out, text, n))
        return error_field(err, "prompt",
                           "%s \"%.*s\" is not a number such as 0.8", what,
                           shown, text);
    if (fabs(*out) > PROMPT_MAX_WEIGHT)
        return error_field(err, "prompt", "%s %.*s; allowed: -%g to %g", what,
                           shown, text, PROMPT_MAX_WEIGHT, PROMPT_MAX_WEIGHT);
    return UNSTIR_OK;
}

/* -- spans ------------------------------------------------------------- */

static enum unstir_status add_span(struct prompt *p, bool is_break,
                                   struct unstir_error *err)
{

    if (p->n_spans == PROMPT_MAX_SPANS)
        return error_field(err, "prompt",
                           "more than %u changes of weight; shorten it",
                           PROMPT_MAX_SPANS);
    TRY(alloc_grow(&p->spans, &p->spans_capacity, p->n_spans + 1,
                   sizeof *p->spans, err));
    p->spans[p->n_spans++] = (struct prompt_span){
        .at = p->n_text, .weight = 1, .is_break = is_break};
    return UNSTIR_OK;
}

/* Text goes to the last span; brackets and BREAK start new ones. */
static void put(struct prompt *p, char c)
{
    p->text[p->n_text++] = c;
    p->spans[p->n_spans - 1].n++;
}

static enum unstir_status open_bracket(struct reader *r, size_t *stack,
                                       size_t *n)
{
    if (*n == PROMPT_MAX_NESTING)
        return error_field(r->err, "prompt", "brackets nested deeper than %u",
                           PROMPT_MAX_NESTING);
    stack[(*n)++] = r->p->n_spans;
    return add_span(r->p, false, r->err);
}

static enum unstir_status close_bracket(struct reader *r, const size_t *stack,
                                        size_t *n, double factor)
{
    for (size_t i = stack[--*n]; i < r->p->n_spans; i++)
        r->p->spans[i].weight *= factor;
    return add_span(r->p, false, r->err);
}

/* -- what stands at a place -------------------------------------------- */

/* ":1.2)" with spaces around the number: its length, else 0. */
static size_t weight_length(const struct reader *r, const char **number,
                            size_t *n_number)
{
    const char *text = r->text + r->at;
    size_t i = 1, n = r->n - r->at, begin;

    while (i < n && is_space(text[i]))
        i++;
    begin = i;
    if (i < n && (text[i] == '-' || text[i] == '+'))
        i++;
    while (i < n && (is_digit(text[i]) || text[i] == '.'))
        i++;
    *number = text + begin;
    *n_number = i - begin;
    while (i < n && is_space(text[i]))
        i++;
    return *n_number && i < n && text[i] == ')' ? i + 1 : 0;
}

static bool is_break(const struct reader *r)
{
    size_t n = strlen(BREAK_WORD), end = r->at + n;

    return r->n - r->at >= n && memcmp(r->text + r->at, BREAK_WORD, n) == 0 &&
           !words_joined(r->text, r->n, r->at) &&
           !words_joined(r->text, r->n, end) &&
           !(r->at && r->text[r->at - 1] == '_') && r->text[end] != '_';
}

/* The field of a LoRA tag up to ':' or the end. */
static size_t field_length(const char *text, size_t n)
{
    const char *colon = memchr(text, ':', n);

    return colon ? (size_t)(colon - text) : n;
}

/* The place of the next scale in a LoRA tag: 0 of the text encoder, 1 of the
 * network; which one may be said ("te=0.5").  SCALES: there is none left. */
enum { SCALES = 2 };

static size_t scale_place(const char **field, size_t *n, size_t n_unnamed)
{
    static const char *const names[SCALES] = {"te=", "unet="};

    for (size_t i = 0; i < SCALES; i++) {
        size_t length = strlen(names[i]);
        if (*n >= length && memcmp(*field, names[i], length) == 0) {
            *field += length;
            *n -= length;
            return i;
        }
    }
    return n_unnamed;
}

/* A scale that is not said is the text encoder's, and that one 1. */
static enum unstir_status read_lora(struct prompt_lora *lora, const char *body,
                                    size_t n, struct unstir_error *err)
{
    double scales[SCALES] = {1, NAN};
    size_t length = field_length(body, n), n_unnamed = 0;

    *lora = (struct prompt_lora){.text_scale = 1};
    if (length == 0 || length >= sizeof lora->name)
        return error_field(err, "prompt",
                           "<lora:...>: a name of 1 to %zu bytes is wanted",
                           sizeof lora->name - 1);
    memcpy(lora->name, body, length);
    while (length < n) {
        body += length + 1;
        n -= length + 1;
        length = field_length(body, n);
        const char *number = body;
        size_t n_number = length;
        size_t place = scale_place(&number, &n_number, n_unnamed);
        n_unnamed += number == body;
        if (place == SCALES)
            return error_field(err, "prompt",
                               "<lora:%.60s:...>: at most a scale for the "
                               "text encoder and one for the network",
                               lora->name);
        trim(&number, &n_number);
        TRY(read_weight(&scales[place], number, n_number, "LoRA scale", err));
    }
    lora->text_scale = scales[0];
    lora->unet_scale = isnan(scales[1]) ? scales[0] : scales[1];
    return UNSTIR_OK;
}

static bool starts_with(const char *text, size_t n, const char *head)
{
    size_t length = strlen(head);

    return n >= length && memcmp(text, head, length) == 0;
}

/* "<lora:...>" at r->at: its length in *length, or 0 if it is none. */
static enum unstir_status take_lora(struct reader *r, size_t *length)
{
    struct prompt *p = r->p;
    const char *text = r->text + r->at;
    size_t n = r->n - r->at, n_tag = strlen(LORA_TAG);
    const char *end = memchr(text, '>', n);

    *length = 0;
    if (end && starts_with(text, n, HYPERNET_TAG))
        return error_field(r->err, "prompt",
                           "%.*s: hypernetworks cannot be used",
                           (int)(end - text < 60 ? end - text + 1 : 60), text);
    if (!end ||
        (!starts_with(text, n, LORA_TAG) && !starts_with(text, n, LYCO_TAG)))
        return UNSTIR_OK;
    if (p->n_loras == PROMPT_MAX_LORAS)
        return error_field(r->err, "prompt", "more than %u LoRAs",
                           PROMPT_MAX_LORAS);
    TRY(alloc_grow(&p->loras, &p->loras_capacity, p->n_loras + 1,
                   sizeof *p->loras, r->err));
    TRY(read_lora(&p->loras[p->n_loras], text + n_tag,
                  (size_t)(end - text) - n_tag, r->err));
    p->n_loras++;
    *length = (size_t)(end - text) + 1;
    return UNSTIR_OK;
}

/* -- reading ----------------------------------------------------------- */

static enum unstir_status read_break(struct reader *r)
{
    r->at += strlen(BREAK_WORD);
    TRY(add_span(r->p, true, r->err));
    return add_span(r->p, false, r->err);
}

static enum unstir_status read_colon(struct reader *r)
{
    const char *number;
    size_t n_number, length = weight_length(r, &number, &n_number);
    double weight;

    if (length == 0 || r->n_round == 0) {
        put(r->p, r->text[r->at++]);
        return UNSTIR_OK;
    }
    r->at += length;
    TRY(read_weight(&weight, number, n_number, "weight", r->err));
    return close_bracket(r, r->round, &r->n_round, weight);
}

static enum unstir_status read_tag(struct reader *r)
{
    size_t length;

    TRY(take_lora(r, &length));
    if (length == 0)
        put(r->p, r->text[r->at++]);
    r->at += length;
    return UNSTIR_OK;
}

/* A character that a backslash keeps from meaning something; a backslash
 * before anything else falls away, as in the webui. */
static void read_escape(struct reader *r)
{
    r->at++;
    if (r->at < r->n && strchr("()[]\\", r->text[r->at]))
        put(r->p, r->text[r->at++]);
}

static enum unstir_status read_bracket(struct reader *r)
{
    char c = r->text[r->at++];

    if (c == '(')
        return open_bracket(r, r->round, &r->n_round);
    if (c == '[')
        return open_bracket(r, r->square, &r->n_square);
    if (c == ')' && r->n_round)
        return close_bracket(r, r->round, &r->n_round, STRONGER);
    if (c == ']' && r->n_square)
        return close_bracket(r, r->square, &r->n_square, 1 / STRONGER);
    put(r->p, c);
    return UNSTIR_OK;
}

static enum unstir_status read_weighted(struct reader *r)
{
    while (r->at < r->n) {
        switch (r->text[r->at]) {
        case '\\':
            read_escape(r);
            break;
        case '(':
        case '[':
        case ')':
        case ']':
            TRY(read_bracket(r));
            break;
        case ':':
            TRY(read_colon(r));
            break;
        case '<':
            TRY(read_tag(r));
            break;
        default:
            if (is_break(r))
                TRY(read_break(r));
            else
                put(r->p, r->text[r->at++]);
        }
    }
    while (r->n_round)
        TRY(close_bracket(r, r->round, &r->n_round, STRONGER));
    while (r->n_square)
        TRY(close_bracket(r, r->square, &r->n_square, 1 / STRONGER));
    return UNSTIR_OK;
}

/* Drop empty spans and join neighbours of one weight: a text is tokenized
 * span by span, and words must not be cut where nothing changes. */
static void join_spans(struct prompt *p)
{
    size_t k = 0;

    for (size_t i = 0; i < p->n_spans; i++) {
        struct prompt_span *s = &p->spans[i];
        struct prompt_span *last = k ? &p->spans[k - 1] : NULL;

        if (s->n == 0 && !s->is_break)
            continue;
        if (last && !last->is_break && !s->is_break &&
            last->weight == s->weight)
            last->n += s->n;
        else
            p->spans[k++] = *s;
    }
    p->n_spans = k;
}

static enum unstir_status read_all(struct reader *r)
{
    TRY(add_span(r->p, false, r->err));
    if (r->p->syntax == PROMPT_WEIGHTED)
        TRY(read_weighted(r));
    else
        while (r->at < r->n)
            put(r->p, r->text[r->at++]);
    join_spans(r->p);
    return UNSTIR_OK;
}

enum unstir_status prompt_parse(struct prompt *p, const char *text,
                                enum prompt_syntax syntax,
                                struct unstir_error *err)
{
    struct reader r = {.p = p, .text = text, .n = strlen(text), .err = err};
    enum unstir_status status;

    *p = (struct prompt){.syntax = syntax};
    if (r.n > BPE_MAX_TEXT_BYTES)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "a prompt of %zu bytes; allowed: %u", r.n,
                         BPE_MAX_TEXT_BYTES);
    TRY(alloc_zero(&p->text, r.n + 1, 1, err));
    status = read_all(&r);
    if (status != UNSTIR_OK)
        prompt_fini(p);
    return status;
}

void prompt_fini(struct prompt *p)
{
    alloc_free(p->text);
    alloc_free(p->spans);
    alloc_free(p->loras);
    *p = (struct prompt){0};
}

/* The tag of this name among n, or a new one behind them. */
static struct unstir_lora_tag *tag_of(struct unstir_lora_tag *tags, size_t *n,
                                      const char *name)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp(tags[i].name, name) == 0)
            return &tags[i];
    tags[*n] = (struct unstir_lora_tag){.unet_weight = 0};
    memcpy(tags[*n].name, name, strlen(name) + 1);
    return &tags[(*n)++];
}

enum unstir_status prompt_lora_tags(const char *text,
                                    struct unstir_lora_tag *tags, size_t *n,
                                    struct unstir_error *err)
{
    struct prompt p;

    *n = 0;
    TRY(prompt_parse(&p, text, PROMPT_WEIGHTED, err));
    for (size_t i = 0; i < p.n_loras && i < UNSTIR_MAX_LORAS; i++) {
        const struct prompt_lora *l = &p.loras[i];
        struct unstir_lora_tag *tag = tag_of(tags, n, l->name);

        tag->unet_weight += l->unet_scale;
        tag->text_weight += l->text_scale;
    }
    prompt_fini(&p);
    return UNSTIR_OK;
}
