/* handlers.h - every handler of routes_table.h, declared.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_HANDLERS_H
#define SERVER_HANDLERS_H

#include "json.h"
#include "router.h"

struct request;
struct service;

#define ROUTE(method, pattern, scope, limit, handler, ...) \
    void handler(struct service *service, struct request *request);
#define BODY_TABLE(name) extern const struct json_field name[];
#include "routes_table.h"
#undef ROUTE
#undef BODY_TABLE

#endif
