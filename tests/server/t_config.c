/* t_config.c - options from every source, in their order, and what is wrong
 * with them.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <unistd.h>

#include "config.h"
#include "server.h"

static char *no_env[] = {NULL};

static enum config_result load(struct config *config, char **argv, char **env,
                               char *why)
{
    int argc = 0;

    while (argv[argc])
        argc++;
    why[0] = 0;
    return config_load(config, argc, argv, env, why, 512);
}

static void test_defaults(void **state)
{
    char *argv[] = {NULL};
    struct config config;
    char why[512];

    (void)state;
    assert_int_equal(load(&config, argv, no_env, why), CONFIG_OK);
    assert_string_equal(config.listen, "127.0.0.1:8080");
    assert_int_equal(config.header_timeout_ms, 10000);
    assert_int_equal(config.body_timeout_ms, 30000);
    assert_int_equal(config.write_timeout_ms, 30000);
    assert_int_equal(config.keep_alive_ms, 60000);
    assert_int_equal(config.drain_timeout_ms, 30000);
    assert_false(config.insecure_no_auth);
    assert_true(config.log_requests);
    assert_int_equal(config.port, -1);
    config_fini(&config);
}

static void test_flags(void **state)
{
    char *argv[] = {(char *)"-m",
                    (char *)"one",
                    (char *)"--model=two",
                    (char *)"--drain-timeout",
                    (char *)"2.5",
                    (char *)"--header-timeout=250ms",
                    (char *)"--keep-alive=2m",
                    (char *)"--port",
                    (char *)"0",
                    (char *)"--insecure-no-auth",
                    (char *)"--no-log-requests",
                    (char *)"--log-level=warn",
                    NULL};
    struct config config;
    char why[512];

    (void)state;
    if (load(&config, argv, no_env, why) != CONFIG_OK)
        fail_msg("%s", why);
    assert_int_equal(config.model.n, 2);
    assert_string_equal(config.model.items[0], "one");
    assert_string_equal(config.model.items[1], "two");
    assert_int_equal(config.drain_timeout_ms, 2500);
    assert_int_equal(config.header_timeout_ms, 250);
    assert_int_equal(config.keep_alive_ms, 120000);
    assert_int_equal(config.port, 0);
    assert_true(config.insecure_no_auth);
    assert_false(config.log_requests);
    assert_string_equal(config.log_level, "warn");
    config_fini(&config);
}

static void test_wrong_flags(void **state)
{
    static const struct {
        const char *first, *second;
        const char *wanted; /* part of the message */
    } rows[] = {
        {"--drian-timeout=3", NULL, "did you mean --drain-timeout?"},
        {"--port", NULL, "--port: needs a value"},
        {"--port", "70000", "--port 70000: must be a whole number, 0..65535"},
        {"--port", "1x", "--port 1x:"},
        {"--port", "1.5", "--port 1.5:"},
        {"--port", "nan", "--port nan:"},
        {"--port", "0x10", "--port 0x10:"},
        {"--header-timeout", "10 s", "must be a time"},
        {"--header-timeout", "1ms", "must be a time"},
        {"--header-timeout", "-1", "50ms..3600s"},
        {"--header-timeout", "1e9", "must be a time"},
        {"--log-level", "loud", "must be one of debug|info|warn|error|off"},
        {"--check=maybe", NULL, "must be true or false"},
        {"--no-port", NULL, "unknown"},
        {"--no-check=true", NULL, "takes no value"},
        {"models/x", NULL, "not an option"},
        {"-x", NULL, "not an option"},
        {"--config=/nonexistent/unstir.conf", NULL, "/nonexistent"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *argv[] = {(char *)rows[i].first, (char *)rows[i].second, NULL};
        struct config config;
        char why[512];

        if (load(&config, argv, no_env, why) != CONFIG_WRONG ||
            !strstr(why, rows[i].wanted))
            fail_msg("%s: wanted \"%s\", got \"%s\"", rows[i].first,
                     rows[i].wanted, why);
        config_fini(&config);
    }
}

static void test_help(void **state)
{
    char *argv[] = {(char *)"--port", (char *)"1", (char *)"--help", NULL};
    struct config config;
    char why[512];
    struct server_option o;
    size_t n = 0;
    unsigned n_found = 0;

    (void)state;
    assert_int_equal(load(&config, argv, no_env, why), CONFIG_HELP);
    config_fini(&config);
    for (; server_describe(n, &o); n++) {
        assert_true(n > 0 || o.group);
        if (strcmp(o.flag, "drain-timeout") == 0) {
            n_found++;
            assert_string_equal(o.group, "Stopping");
            assert_string_equal(o.form, "TIME");
            assert_string_equal(o.fallback, "30s");
            assert_string_equal(o.env, "UNSTIR_DRAIN_TIMEOUT");
        } else if (strcmp(o.flag, "port") == 0 ||
                   strcmp(o.flag, "lora-dir") == 0) {
            n_found++;
            assert_string_equal(o.fallback, "");
        }
    }
    assert_int_equal(n_found, 3);
    assert_false(server_describe(n + 1, &o));
}

static void test_order(void **state)
{
    char path[] = "/tmp/unstir-config-XXXXXX";
    char flag[80];
    char *argv[] = {flag, (char *)"--port=3", (char *)"--model=flag", NULL};
    char *env[] = {(char *)"UNSTIR_PORT=2",
                   (char *)"UNSTIR_LISTEN=[::1]:2",
                   (char *)"UNSTIR_HOST_NAME=a,b",
                   (char *)"UNSTIR_CHECK=",
                   (char *)"HOME=/",
                   NULL};
    static const char text[] = "# comment\n\nport = 1\nlisten=file:1\r\n"
                               "  max-connections =  77  \nmodel = x\n"
                               "model = y=z\nhost-name = c";
    struct config config;
    char why[512];
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    (void)close(fd);
    (void)snprintf(flag, sizeof flag, "--config=%s", path);
    if (load(&config, argv, env, why) != CONFIG_OK)
        fail_msg("%s", why);
    (void)unlink(path);
    assert_int_equal(config.port, 3);
    assert_string_equal(config.listen, "[::1]:2");
    assert_int_equal(config.max_connections, 77);
    assert_int_equal(config.model.n, 1);
    assert_string_equal(config.model.items[0], "flag");
    assert_int_equal(config.host_name.n, 2);
    assert_string_equal(config.host_name.items[1], "b");
    config_fini(&config);
}

static void test_files(void **state)
{
    static const struct {
        const char *text, *wanted;
    } rows[] = {
        {"port = 1\nprot = 2\n", "f:2: prot: unknown; did you mean port?"},
        {"port\n", "f:1: port: must be `name = value`"},
        {"\n\nport = x", "f:3: port x: must be a whole number"},
        {"config = other", "unknown"},
        {"= 3", "unknown"},
        {"listen = unix:/a b # c\n", NULL},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config config;
        char why[512] = "";
        enum config_result got;

        config_defaults(&config);
        got = config_parse(&config, rows[i].text, strlen(rows[i].text), "f",
                           why, sizeof why);
        if (rows[i].wanted ? !strstr(why, rows[i].wanted) : got != CONFIG_OK)
            fail_msg("%s: wanted \"%s\", got \"%s\"", rows[i].text,
                     rows[i].wanted ? rows[i].wanted : "right", why);
        if (!rows[i].wanted)
            assert_string_equal(config.listen, "unix:/a b # c");
        config_fini(&config);
    }
}

static void test_reads_back(void **state)
{
    char *argv[] = {(char *)"--header-timeout=1234ms", (char *)"-m",
                    (char *)"m1", (char *)"--port=9", NULL};
    struct config config;
    struct config again;
    char why[512];
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);

    (void)state;
    assert_int_equal(load(&config, argv, no_env, why), CONFIG_OK);
    config_print(&config, out);
    (void)fclose(out);
    config_defaults(&again);
    if (config_parse(&again, text, n, "f", why, sizeof why) != CONFIG_OK)
        fail_msg("%s", why);
    assert_int_equal(again.header_timeout_ms, 1234);
    assert_int_equal(again.port, 9);
    assert_string_equal(again.model.items[0], "m1");
    config_fini(&config);
    config_fini(&again);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),    cmocka_unit_test(test_flags),
        cmocka_unit_test(test_wrong_flags), cmocka_unit_test(test_help),
        cmocka_unit_test(test_order),       cmocka_unit_test(test_files),
        cmocka_unit_test(test_reads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
