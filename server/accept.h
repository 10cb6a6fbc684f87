/* accept.h - in what form POST /generate answers.
 *
 *     Accept                one picture      several
 *     none or any           PNG              JSON
 *     image/png, image/any  PNG              406
 *     application/json      JSON             JSON
 *     text/event-stream     events           events
 *     multipart/mixed       one part         one part a picture
 *
 * Several media types are ranked by their q-values; of equals the order of
 * this table wins.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_ACCEPT_H
#define SERVER_ACCEPT_H

#include <stddef.h>
#include <stdint.h>

enum accept_form {
    FORM_PNG,
    FORM_JSON,
    FORM_EVENTS,
    FORM_MULTIPART,
    FORM_NONE /* 406 */
};

/* header NULL: none was sent. */
enum accept_form accept_form(const char *header, uint32_t n_pictures);

/* The media types that n pictures can be had in, comma separated. */
const char *accept_offered(uint32_t n_pictures);

#endif
