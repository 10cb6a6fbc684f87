/* accept.h - in what form POST /generate answers.
 *
 *     Accept                one picture      several
 *     none or any           PNG              JSON
 *     image/png, image/any  PNG              406
 *     image/jpeg            JPEG             406
 *     image/webp            WebP             406
 *     application/json      JSON             JSON
 *     text/event-stream     events           events
 *     multipart/mixed       one part         one part a picture
 *
 * Several media types are ranked by their q-values; of equals the order of
 * this table wins.  A request whose body names a format is offered in that one
 * only, which "image/any" (of pictures) and none then mean; so are latents,
 * which only a body can ask for.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_ACCEPT_H
#define SERVER_ACCEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "unstir.h"

enum accept_form {
    FORM_PICTURE,
    FORM_JSON,
    FORM_EVENTS,
    FORM_MULTIPART,
    FORM_NONE /* 406 */
};

/* header NULL: none was sent.  `fixed`: the media type that the body names, or
 * NULL; then *format becomes the one to write. */
enum accept_form accept_form(const char *header, uint32_t n_pictures,
                             const char *fixed, enum unstir_format *format);

/* The media types that n pictures can be had in, comma separated, in `out`. */
void accept_offered(char *out, size_t size, uint32_t n_pictures,
                    const char *fixed);

#endif
