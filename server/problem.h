/* problem.h - errors as clients read them: RFC 9457 bodies with the
 * OpenAI-shaped `error` member, all violations of a request at once.
 *
 *     struct problem problem;
 *     problem_init(&problem, request->arena, ERROR_INVALID_PARAMETERS);
 *     problem_add(&problem, "/steps", "must be 1..1000", "0", "[1]");
 *     reply_problem(request, &problem);
 *
 * Codes, texts and help stand in errors_table.h; GET /problems/{slug} shows
 * the help.  Details are fixed texts with values of the request in them;
 * never paths or addresses of the server.
 *
 * Loop-only.  At most PROBLEM_MAX_VIOLATIONS are kept, more are counted.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_PROBLEM_H
#define SERVER_PROBLEM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

#define PROBLEM_MAX_VIOLATIONS 64

enum error_code {
#define ERROR(name, status, slug, code, title, openai_type, help) ERROR_##name,
#include "errors_table.h"
#undef ERROR
    N_ERRORS
};

struct error_info {
    unsigned status;
    const char *slug;        /* "invalid-parameters": /problems/{slug}       */
    const char *code;        /* "invalid_value"                              */
    const char *title;       /* "Invalid parameters"                         */
    const char *openai_type; /* "invalid_request_error"                      */
    const char *help;        /* what to do about it, a few sentences         */
};

const struct error_info *error_info(enum error_code code);

/* N_ERRORS if there is none. */
enum error_code error_by_slug(const char *slug);

struct problem_violation {
    const char *pointer; /* JSON Pointer, "/width"; or "?wait" for a query   */
    const char *detail;
    const char *got;     /* JSON text or NULL                                */
    const char *nearest; /* JSON array text or NULL                          */
};

struct problem {
    enum error_code code;
    struct mem_arena *arena; /* texts are copied into it                     */
    const char *detail;      /* NULL: made from the violations or the title  */
    const char *members;     /* what the kind of problem has beyond the rest
                                (RFC 9457 3.2), `"a":1,"b":2`; or NULL       */
    size_t n_violations;     /* all, also those not kept                     */
    struct problem_violation violations[PROBLEM_MAX_VIOLATIONS];
};

void problem_init(struct problem *problem, struct mem_arena *arena,
                  enum error_code code);
void problem_detail(struct problem *problem, const char *format, ...)
    BUF_PRINTF(2, 3);

/* Texts are copied; got and nearest may be NULL.  `nearest` is a JSON value
 * or an array of them; a lone value is put into an array.                  */
void problem_add(struct problem *problem, const char *pointer,
                 const char *detail, const char *got, const char *nearest);

/* The same with a formatted detail. */
void problem_vadd(struct problem *problem, const char *pointer, const char *got,
                  const char *nearest, const char *format, va_list args);

/* The body.  request_id may be NULL. */
void problem_write(const struct problem *problem, const char *request_id,
                   struct buf *out);

#endif
