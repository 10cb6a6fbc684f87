/* h_problems.c - GET /problems/{slug}: what an error means.
 *
 * SPDX-License-Identifier: MIT
 */
#include "handlers.h"
#include "json.h"
#include "problem.h"
#include "reply.h"
#include "router.h"

void h_problem(struct service *service, struct request *request)
{
    enum error_code code = error_by_slug(request_param(request, "slug"));
    const struct error_info *info;
    struct json_out json;
    struct buf body;

    (void)service;
    if (code == N_ERRORS) {
        reply_error(request, ERROR_NOT_FOUND, "there is no such problem");
        return;
    }
    info = error_info(code);
    buf_init(&body, 16384);
    jout_init(&json, &body);
    jout_object(&json, NULL);
    jout_string(&json, "title", info->title);
    jout_uint(&json, "status", info->status);
    jout_string(&json, "code", info->code);
    jout_string(&json, "help", info->help);
    jout_end_object(&json);
    reply_header(request, "Cache-Control", "public, max-age=86400");
    reply_json(request, 200, &body);
    buf_fini(&body);
}
