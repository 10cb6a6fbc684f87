/* name.h - names of parameters, put together from prefixes.
 *
 *     graph_linear(g, name_of("%s.to_q", prefix).text, x, c, true);
 *
 * The text lives until the end of the full expression or, stored in a
 * variable, as long as that.  A name that does not fit is cut; the longest
 * name of a supported network has 60 characters, and graph.c refuses names of
 * its own ceiling.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_NAME_H
#define NN_NAME_H

#include "base/compiler.h"

struct name {
    char text[128];
};

struct name name_of(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
