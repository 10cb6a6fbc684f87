/* h_page.c - GET /: the web page, embedded at build time.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "handlers.h"
#include "page.h"
#include "reply.h"
#include "request.h"

/* The page is one file that loads nothing from elsewhere; its style and script
 * stand in it, pictures come from here. */
#define POLICY                                                                 \
    "default-src 'none'; img-src 'self' data: blob:; connect-src 'self'; "     \
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; " \
    "form-action 'none'; frame-ancestors 'none'"

void h_page(struct service *service, struct request *request)
{
    const struct page_file *file = page_files;

    (void)service;
    while (file->name != NULL && strcmp(file->name, "index.html") != 0)
        file++;
    if (file->name == NULL) {
        reply_error(request, ERROR_NOT_FOUND, "built without the web page");
        return;
    }
    reply_header(request, "Content-Security-Policy", POLICY);
    reply_header(request, "Referrer-Policy", "no-referrer");
    reply_header(request, "Cache-Control", "no-cache");
    if (reply_unchanged(request, file->bytes, file->n_bytes))
        return;
    reply_static(request, 200, "text/html; charset=utf-8", file->bytes,
                 file->n_bytes);
}
