/* accept.c - in what form POST /generate answers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "accept.h"

#include "request.h"

static const char *const media_types[] = {[FORM_PNG] = "image/png",
                                          [FORM_JSON] = "application/json",
                                          [FORM_EVENTS] = "text/event-stream",
                                          [FORM_MULTIPART] = "multipart/mixed"};

enum accept_form accept_form(const char *header, uint32_t n_pictures)
{
    int first = n_pictures == 1 ? FORM_PNG : FORM_JSON;
    int chosen = request_accept(header, media_types + first,
                                (size_t)(FORM_NONE - first));

    return chosen < 0 ? FORM_NONE : (enum accept_form)(first + chosen);
}

const char *accept_offered(uint32_t n_pictures)
{
    return n_pictures == 1
               ? "image/png, application/json, text/event-stream, "
                 "multipart/mixed"
               : "application/json, text/event-stream, multipart/mixed";
}
