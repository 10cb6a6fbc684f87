/* head.h - what a request's head says, put into struct request.
 *
 * Needs target, headers and arena; framing was checked before.  Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_HEAD_H
#define SERVER_HEAD_H

#include <stdbool.h>

#include "request.h"

/* The client's X-Request-Id if it is of the form [!-~]{1,128}, or a new one. */
void head_set_id(struct request *request);

/* Unknown methods become N_HTTP_METHODS, HEAD becomes GET with is_head. */
void head_set_method(struct request *request, const char *method);

/* The decoded path and the query's arguments; false if an escape is bad or
 * there are too many arguments.                                            */
bool head_read_target(struct request *request);

/* May the body be taken for JSON?  Browsers name their origin, and a page
 * must not reach us by a form.  A body without a type, or typed as curl does
 * by itself, is JSON when no browser sent it.                              */
bool head_is_json(const struct request *request);

#endif
