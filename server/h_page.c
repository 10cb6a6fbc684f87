/* h_page.c - the web page, embedded at build time: GET / and its parts.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "handlers.h"
#include "page.h"
#include "reply.h"
#include "request.h"

/* The page loads nothing from elsewhere, and runs nothing that stands in its
 * text; pictures come from here or from what the user chose.                */
#define POLICY                                                             \
    "default-src 'none'; img-src 'self' data: blob:; connect-src 'self'; " \
    "style-src 'self'; script-src 'self'; base-uri 'none'; "               \
    "form-action 'none'; frame-ancestors 'none'"

static const struct page_file *find(const char *name)
{
    const struct page_file *file = page_files;

    while (file->name != NULL && strcmp(file->name, name) != 0)
        file++;
    return file->name != NULL ? file : NULL;
}

/* NULL: not for browsers. */
static const char *type_of(const char *name)
{
    const char *suffix = strrchr(name, '.');

    if (suffix != NULL && strcmp(suffix, ".css") == 0)
        return "text/css; charset=utf-8";
    if (suffix != NULL && strcmp(suffix, ".js") == 0)
        return "text/javascript; charset=utf-8";
    return NULL;
}

static void reply_file(struct request *request, const struct page_file *file,
                       const char *type)
{
    reply_header(request, "Cache-Control", "no-cache");
    if (!reply_unchanged(request, file->bytes, file->n_bytes))
        reply_static(request, 200, type, file->bytes, file->n_bytes);
}

void h_page(struct service *service, struct request *request)
{
    const struct page_file *file = find("index.html");

    (void)service;
    if (file == NULL) {
        reply_error(request, ERROR_NOT_FOUND, "built without the web page");
        return;
    }
    reply_header(request, "Content-Security-Policy", POLICY);
    reply_header(request, "Referrer-Policy", "no-referrer");
    reply_file(request, file, "text/html; charset=utf-8");
}

void h_page_file(struct service *service, struct request *request)
{
    const char *name = request_param(request, "file");
    const char *type = type_of(name);
    const struct page_file *file = type != NULL ? find(name) : NULL;

    (void)service;
    if (file != NULL)
        reply_file(request, file, type);
    else
        reply_error(request, ERROR_NOT_FOUND,
                    "the page has no such file; GET / names those it has");
}
