/* opts_size.h - the options about a picture's size, the same for every command.
 *
 * Rows of a command's table.  The command defines FIELD(name) as for its own
 * rows and has the fields width and height.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPTS_SIZE_H
#define OPTS_SIZE_H

#define OPTS_EDGE(edge)                                                      \
    {                                                                        \
        .name = #edge, .kind = OPT_U32, .meta = "N", .min = 1, .max = 16384, \
        .fallback = "the model's own", FIELD(edge), .help = "pixels"         \
    }
#define OPTS_SIZE OPTS_EDGE(width), OPTS_EDGE(height)

#endif
