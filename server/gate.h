/* gate.h - what a request must pass before its handler sees it.
 *
 * In this order: a host that is ours, a target that can be read, an address
 * and method of the table, a body of a size and kind that the address takes,
 * query arguments that it knows.
 *
 * Loop-only, no state.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_GATE_H
#define SERVER_GATE_H

#include <stdbool.h>

#include "config.h"
#include "framing.h"
#include "request.h"

/* Fills request->route, params, path and query.  False: it was answered.   */
bool gate_pass(struct request *request, const struct framing *framing,
               const struct config *config);

#endif
