/* server.h - the HTTP service, as the command line sees it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdio.h>

/* `unstir serve`: parse argv (without the command's name) by the table of
 * config_table.h together with UNSTIR_* and a file, run until SIGTERM or
 * SIGINT has drained, return the exit code of CLI.md.                      */
int server_main(int argc, char **argv);

/* Print the options of `serve` to `out`, grouped, with default and
 * environment name. */
void server_print_help(FILE *out);

/* `unstir healthcheck`: 0 when GET url answers 200 within timeout_ms. url
 * NULL: UNSTIR_LISTEN or http://127.0.0.1:8080, /health/ready. */
int server_healthcheck(const char *url, int timeout_ms);

#endif
