/* commands.h - the commands of the program; each stands in its own file.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "opts.h"

extern const struct command command_version;

#endif
