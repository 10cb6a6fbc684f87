/* config_table.h - the options of `unstir serve`, grouped as --help shows
 * them.  See config.h for the kinds; the environment name is UNSTIR_ and the
 * flag in upper case with _ for -.
 *
 * Included several times; no guard.
 *
 * SPDX-License-Identifier: MIT
 */
CONFIG_GROUP("Models")
CONFIG_LIST(model, "model", "",
            "model folder; may be given more than once (-m)")

CONFIG_GROUP("Listening")
CONFIG_TEXT(listen, "listen", "127.0.0.1:8080",
            "HOST:PORT, [V6]:PORT or unix:PATH; port 0 picks a free one")
CONFIG_INT(port, "port", -1, -1, 65535, "replaces the port of --listen")
CONFIG_LIST(host_name, "host-name", "",
            "name by which clients may call this server (Host header)")
CONFIG_BOOL(insecure_no_auth, "insecure-no-auth", false,
            "allow listening beyond loopback without keys")

CONFIG_GROUP("Limits of connections")
CONFIG_INT(max_connections, "max-connections", 1024, 4, 65536,
           "connections at one time")
CONFIG_TIME(header_timeout_ms, "header-timeout", 10000, 50, 3600000,
            "for a request's line and headers to arrive")
CONFIG_TIME(body_timeout_ms, "body-timeout", 30000, 50, 3600000,
            "for a request's body to arrive")
CONFIG_TIME(write_timeout_ms, "write-timeout", 30000, 50, 3600000,
            "for a client to take more of an answer")
CONFIG_TIME(keep_alive_ms, "keep-alive", 60000, 50, 3600000,
            "an idle connection is kept")

CONFIG_GROUP("Stopping")
CONFIG_TIME(drain_timeout_ms, "drain-timeout", 30000, 0, 86400000,
            "after SIGTERM, to finish running and queued work")
CONFIG_TIME(drain_grace_ms, "drain-grace", 1000, 0, 600000,
            "after the last work, for clients to fetch results")

CONFIG_GROUP("Log")
CONFIG_CHOICE(log_format, "log-format", "auto", "auto|text|json",
              "auto: text on a terminal, JSON lines elsewhere")
CONFIG_CHOICE(log_level, "log-level", "info", "debug|info|warn|error|off",
              "least level that is written")
CONFIG_BOOL(log_requests, "log-requests", true, "a line for every request")

CONFIG_GROUP("This command")
CONFIG_TEXT(config, "config", "", "read options from this file")
CONFIG_BOOL(check, "check", false, "check options and exit")
CONFIG_BOOL(print_config, "print-config", false, "print all options and exit")
