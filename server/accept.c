/* accept.c - in what form POST /generate answers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "accept.h"

#include <stdio.h>
#include <string.h>

#include "request.h"

static const char *const others[] = {"application/json", "text/event-stream",
                                     "multipart/mixed"};

#define N_OTHERS (sizeof others / sizeof *others)

/* Offers of n pictures; how many of them are pictures' types. */
static size_t list(const char *offers[UNSTIR_N_FORMATS + N_OTHERS],
                   uint32_t n_pictures, const char *fixed)
{
    size_t n = 0;

    if (n_pictures == 1 && fixed != NULL)
        offers[n++] = fixed;
    for (int i = 0; n_pictures == 1 && !fixed && i < UNSTIR_N_FORMATS; i++)
        offers[n++] = unstir_format_info((enum unstir_format)i)->media_type;
    for (size_t i = 0; i < N_OTHERS; i++)
        offers[n + i] = others[i];
    return n;
}

enum accept_form accept_form(const char *header, uint32_t n_pictures,
                             const char *fixed, enum unstir_format *format)
{
    const char *offers[UNSTIR_N_FORMATS + N_OTHERS];
    size_t n = list(offers, n_pictures, fixed);
    int chosen = request_accept(header, offers, n + N_OTHERS);

    if (fixed == NULL)
        *format = chosen >= 0 && (size_t)chosen < n ? (enum unstir_format)chosen
                                                    : UNSTIR_FORMAT_PNG;
    if (chosen < 0)
        return FORM_NONE;
    return (size_t)chosen < n
               ? FORM_PICTURE
               : (enum accept_form)(FORM_JSON + ((size_t)chosen - n));
}

void accept_offered(char *out, size_t size, uint32_t n_pictures,
                    const char *fixed)
{
    const char *offers[UNSTIR_N_FORMATS + N_OTHERS];
    size_t n = list(offers, n_pictures, fixed), at = 0;

    for (size_t i = 0; i < n + N_OTHERS && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i > 0 ? ", " : "",
                               offers[i]);
}
