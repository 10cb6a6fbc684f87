/* server.c - the service from start to end.
 *
 * Start: options, socket, parts in the order of parts_table.h, the line
 * "listening on", the loop.  End (struct service_part says it in words):
 *
 *     RUNNING --signal--> DRAINING --work done, grace over--> STOPPING
 *        \________________ second signal, or timeout ___________/
 *     STOPPING: parts are stopped, the listener is closed, what is being
 *     sent gets a second; then the loop ends and parts close in reverse.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "buf.h"
#include "http.h"
#include "listen.h"
#include "log.h"
#include "loras.h"
#include "model_files.h"
#include "notify.h"
#include "service.h"

#define TICK_MS     50u
#define SEND_OFF_MS 1000u /* after stop, for answers to be written          */
#define EXIT_FAILED 1
#define EXIT_USAGE  2
#define WHY_BYTES   512

extern char **environ;

/* ------------------------------------------------------------------ server */

enum stage { STAGE_RUNNING, STAGE_DRAINING, STAGE_STOPPING };

struct server {
    struct service service;
    struct config config;
    enum stage stage;
    bool is_ready;      /* the service manager was told                  */
    bool is_stop_asked; /* a second signal                               */
    uint64_t drain_from_ms;
    uint64_t idle_from_ms; /* no work since; 0 while there is some          */
    uint64_t stop_from_ms;
    uint64_t watchdog_ms;
    uint64_t fed_ms;
    struct loop_timer *ticker;
    struct loop_signal *term, *interrupt, *reload;
    int argc; /* for reading the options again                          */
    char **argv;
};

static void begin_drain(struct server *server)
{
    log_event(LOG_LEVEL_INFO, "draining", NULL, NULL);
    notify_send("STOPPING=1");
    server->stage = STAGE_DRAINING;
    server->drain_from_ms = loop_now_ms();
    service_drain(&server->service);
}

static void begin_stop(struct server *server)
{
    log_event(LOG_LEVEL_INFO, "stopping", NULL, NULL);
    server->stage = STAGE_STOPPING;
    server->stop_from_ms = loop_now_ms();
    service_stop(&server->service);
    http_refuse(server->service.http);
}

static void check_ready(struct server *server)
{
    char why[WHY_BYTES];
    enum part_state state;

    if (server->is_ready)
        return;
    state = service_state(&server->service, why, sizeof why);
    if (!part_takes_work(state))
        return;
    server->is_ready = true;
    if (state == PART_DEGRADED)
        log_event(LOG_LEVEL_WARN, "degraded", "reason", why);
    log_event(LOG_LEVEL_INFO, "ready", NULL, NULL);
    notify_send(state == PART_DEGRADED ? "READY=1\nSTATUS=degraded"
                                       : "READY=1\nSTATUS=ready");
}

static void feed_watchdog(struct server *server, uint64_t now)
{
    if (!server->watchdog_ms || now - server->fed_ms < server->watchdog_ms)
        return;
    server->fed_ms = now;
    notify_send("WATCHDOG=1");
}

static bool is_drained(struct server *server, uint64_t now)
{
    const struct config *config = &server->config;

    if (server->is_stop_asked ||
        now - server->drain_from_ms >= config->drain_timeout_ms)
        return true;
    if (service_busy(&server->service)) {
        server->idle_from_ms = 0;
        return false;
    }
    if (!server->idle_from_ms)
        server->idle_from_ms = now;
    return now - server->idle_from_ms >= config->drain_grace_ms;
}

static void on_tick(void *user)
{
    struct server *server = user;
    uint64_t now = loop_now_ms();

    feed_watchdog(server, now);
    switch (server->stage) {
    case STAGE_RUNNING:
        check_ready(server);
        break;
    case STAGE_DRAINING:
        if (is_drained(server, now))
            begin_stop(server);
        break;
    case STAGE_STOPPING:
        http_end_idle(server->service.http);
        if (http_connections(server->service.http) == 0 ||
            now - server->stop_from_ms >= SEND_OFF_MS)
            loop_stop(server->service.loop);
        break;
    }
}

static void on_end_signal(void *user)
{
    struct server *server = user;

    if (server->stage == STAGE_RUNNING)
        begin_drain(server);
    else
        server->is_stop_asked = true;
}

/* ------------------------------------------------------------------ set-up */

static enum log_level level_of(const char *name)
{
    static const char *const names[] = {"debug", "info", "warn", "error",
                                        "off"};
    int level = 0;

    while (level < LOG_LEVEL_OFF && strcmp(names[level], name) != 0)
        level++;
    return (enum log_level)level;
}

static void open_log(const struct config *config)
{
    bool is_json =
        strcmp(config->log_format, "json") == 0 ||
        (strcmp(config->log_format, "auto") == 0 && !isatty(STDERR_FILENO));

    log_open(STDERR_FILENO, level_of(config->log_level), is_json);
}

/* SIGHUP: deadlines and logging are read again from all sources; what was
 * decided at the start (address, models) stays.                             */
static void on_reload(void *user)
{
    struct server *server = user;
    struct config *now = &server->config;
    struct config fresh;
    char why[WHY_BYTES] = "";

    if (config_load(&fresh, server->argc, server->argv, environ, why,
                    sizeof why) != CONFIG_OK) {
        log_event(LOG_LEVEL_ERROR, "options not reloaded", "reason", why);
        config_fini(&fresh);
        return;
    }
    now->header_timeout_ms = fresh.header_timeout_ms;
    now->body_timeout_ms = fresh.body_timeout_ms;
    now->write_timeout_ms = fresh.write_timeout_ms;
    now->keep_alive_ms = fresh.keep_alive_ms;
    now->drain_timeout_ms = fresh.drain_timeout_ms;
    now->drain_grace_ms = fresh.drain_grace_ms;
    now->log_requests = fresh.log_requests;
    log_set_level(level_of(fresh.log_level));
    config_fini(&fresh);
    log_event(LOG_LEVEL_INFO, "options reloaded", NULL, NULL);
}

/* A connection is a descriptor: have as many as we may. */
static void raise_limits(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

static int fail(int code, const char *why)
{
    (void)fprintf(stderr, "unstir: %s\n", why);
    return code;
}

/* 0, or the exit code after a message. */
static int open_listener(const struct config *config, struct listener *out)
{
    char why[WHY_BYTES] = "";
    bool is_usage = false;

    if (!listener_inherit(out) &&
        !listener_open(out, config->listen, (int)config->port, why, sizeof why,
                       &is_usage))
        return fail(is_usage ? EXIT_USAGE : EXIT_FAILED, why);
    if (!out->is_loopback && !config->insecure_no_auth) {
        listener_close(out);
        return fail(EXIT_USAGE,
                    "--listen: this address can be reached from other "
                    "machines and no keys are set; anybody there could use "
                    "this service\n        listen on 127.0.0.1, or say "
                    "--insecure-no-auth if that is meant");
    }
    if (!out->is_loopback)
        log_event(LOG_LEVEL_WARN,
                  "no keys are set and other machines can reach this service",
                  "listen", out->url);
    return 0;
}

static bool open_signals(struct server *server)
{
    struct loop *loop = server->service.loop;

    server->term = loop_signal_new(loop, SIGTERM, on_end_signal, server);
    server->interrupt = loop_signal_new(loop, SIGINT, on_end_signal, server);
    server->reload = loop_signal_new(loop, SIGHUP, on_reload, server);
    server->ticker = loop_timer_new(loop, on_tick, server);
    if (!server->term || !server->interrupt || !server->reload ||
        !server->ticker)
        return false;
    loop_timer_start(server->ticker, TICK_MS, TICK_MS);
    return true;
}

static void announce(const struct config *config, const char *url)
{
    if (strcmp(config->log_format, "json") == 0)
        (void)printf("{\"listening\":\"%s\"}\n", url);
    else
        (void)printf("listening on %s\n", url);
    (void)fflush(stdout);
}

/* Timer and signals first: parts may run the loop while they close. */
static void close_all(struct server *server)
{
    loop_timer_free(server->ticker);
    loop_signal_free(server->term);
    loop_signal_free(server->interrupt);
    loop_signal_free(server->reload);
    http_free(server->service.http);
    service_close(&server->service);
    loop_free(server->service.loop);
}

/* Run with checked options; the exit code. */
static int run(struct server *server)
{
    struct listener listener;
    char url[sizeof listener.url];
    char why[WHY_BYTES] = "out of memory";
    int code = open_listener(&server->config, &listener);

    if (code)
        return code;
    memcpy(url, listener.url, sizeof url);
    server->service.config = &server->config;
    server->service.loop = loop_new();
    code = EXIT_FAILED;
    if (!server->service.loop) {
        listener_close(&listener);
        return fail(code, why);
    }
    server->service.http =
        http_new(&server->service, &listener, why, sizeof why);
    if (server->service.http)
        server->service.answers = http_answers(server->service.http);
    if (server->service.http && open_signals(server) &&
        service_open(&server->service, why, sizeof why)) {
        announce(&server->config, url);
        loop_run(server->service.loop);
        log_event(LOG_LEVEL_INFO, "stopped", NULL, NULL);
        code = 0;
    } else {
        (void)fail(code, why);
    }
    close_all(server);
    return code;
}

static int check_only(const struct config *config)
{
    char why[WHY_BYTES] = "";

    if (!model_files_check(config, why, sizeof why) ||
        !loras_check(config, why, sizeof why))
        return fail(EXIT_USAGE, why);
    (void)puts("options and models are right");
    return 0;
}

int server_main(int argc, char **argv)
{
    struct server *server = mem_zero(1, sizeof *server);
    char why[WHY_BYTES] = "";
    int code = 0;

    if (!server)
        return fail(EXIT_FAILED, "out of memory");
    (void)signal(SIGPIPE, SIG_IGN);
    switch (
        config_load(&server->config, argc, argv, environ, why, sizeof why)) {
    case CONFIG_HELP:
        code = SERVER_HELP;
        break;
    case CONFIG_WRONG:
        code = fail(EXIT_USAGE, why);
        break;
    case CONFIG_OK:
        if (server->config.print_config) {
            config_print(&server->config, stdout);
        } else if (server->config.check) {
            code = check_only(&server->config);
        } else {
            open_log(&server->config);
            raise_limits();
            server->argc = argc;
            server->argv = argv;
            server->watchdog_ms = notify_watchdog_ms();
            code = run(server);
        }
        break;
    }
    config_fini(&server->config);
    mem_free(server);
    return code;
}
