/* generate_micro.c - "1024x768" and "10,20" of the options in opts_micro.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <stdlib.h>

#include "generate.h"

#define MAX_DIGITS 7

/* A whole number of few digits; NULL if it is none, else what stands behind. */
static const char *read_number(const char *text, uint32_t *out)
{
    size_t n = 0;
    uint32_t v = 0;
    for (; isdigit((unsigned char)text[n]) && n < MAX_DIGITS; n++)
        v = v * 10 + (uint32_t)(text[n] - '0');
    *out = v;
    return n > 0 && !isdigit((unsigned char)text[n]) ? text + n : NULL;
}

/* Two numbers with a `sign` between; NULL leaves them as they are. */
static int read_pair(const char *option, const char *text, char sign,
                     uint32_t *a, uint32_t *b)
{
    if (!text)
        return CLI_OK;
    bool is_size = sign == 'x';
    const char *at = read_number(text, a);
    if (at && *at == sign)
        at = read_number(at + 1, b);
    else
        at = NULL;
    if (at && *at == '\0' && (!is_size || (*a > 0 && *b > 0)))
        return CLI_OK;
    cli_error("--%s %.40s: must be two whole numbers, as %s", option, text,
              is_size ? "1024x768" : "0,0");
    return CLI_USAGE;
}

int generate_micro(const struct generate_values *v, struct unstir_request *r)
{
    struct unstir_micro *m = &r->micro, *n = &r->negative_micro;
    const struct {
        const char *option, *text;
        char sign;
        uint32_t *a, *b;
    } rows[] = {
        {"original-size", v->original_size, 'x', &m->original_width,
         &m->original_height},
        {"crop-at", v->crop_at, ',', &m->crop_left, &m->crop_top},
        {"target-size", v->target_size, 'x', &m->target_width,
         &m->target_height},
        {"negative-original-size", v->negative_original_size, 'x',
         &n->original_width, &n->original_height},
        {"negative-crop-at", v->negative_crop_at, ',', &n->crop_left,
         &n->crop_top},
        {"negative-target-size", v->negative_target_size, 'x', &n->target_width,
         &n->target_height},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int rc = read_pair(rows[i].option, rows[i].text, rows[i].sign,
                           rows[i].a, rows[i].b);
        if (rc != CLI_OK)
            return rc;
    }
    if (opts_is_given(&command_generate, v, "aesthetic-score"))
        r->aesthetic_score = v->aesthetic_score;
    if (opts_is_given(&command_generate, v, "negative-aesthetic-score"))
        r->negative_aesthetic_score = v->negative_aesthetic_score;
    return CLI_OK;
}
