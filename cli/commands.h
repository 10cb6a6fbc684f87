/* commands.h - the commands of the program; each stands in its own file.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "opts.h"

extern const struct command command_bench;
extern const struct command command_convert;
extern const struct command command_generate;
extern const struct command command_healthcheck;
extern const struct command command_inspect;
extern const struct command command_noise;
extern const struct command command_serve;
extern const struct command command_train;
extern const struct command command_version;

#endif
