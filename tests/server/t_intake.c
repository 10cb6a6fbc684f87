/* t_intake.c - large bodies are read off the loop: the service whole, with the
 * reading held.
 *
 * The parser's function is put in front of the library's here, so that a test
 * can hold one that reads a large body and see on which thread it runs.  The
 * service runs on a thread of its own and is talked to by a Unix socket.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dlfcn.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "intake.h"
#include "server.h"

#define LARGE_BYTES ((size_t)1 << 20)

/* ------------------------------------------------------ the parser, held -- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of what follows */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_held;
static unsigned n_begun, n_on_loop; /* parses of large bodies                */
static pthread_t loop_thread;

json_t *json_loadb(const char *bytes, size_t n, size_t flags,
                   json_error_t *error)
{
    json_t *(*next)(const char *, size_t, size_t, json_error_t *);

    *(void **)&next = dlsym(RTLD_NEXT, "json_loadb");
    if (n >= LARGE_BYTES) {
        (void)pthread_mutex_lock(&mutex);
        n_begun++;
        n_on_loop += pthread_equal(pthread_self(), loop_thread) != 0;
        (void)pthread_cond_broadcast(&changed);
        while (is_held)
            (void)pthread_cond_wait(&changed, &mutex);
        (void)pthread_mutex_unlock(&mutex);
    }
    return next(bytes, n, flags, error);
}

static void hold(bool is_on)
{
    (void)pthread_mutex_lock(&mutex);
    is_held = is_on;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mutex);
}

static void until_begun(unsigned n)
{
    (void)pthread_mutex_lock(&mutex);
    while (n_begun < n)
        (void)pthread_cond_wait(&changed, &mutex);
    (void)pthread_mutex_unlock(&mutex);
}

/* ------------------------------------------------------------ the service -- */

static char folder[] = "/tmp/t_intake.XXXXXX";
static char socket_path[64], listen_at[80];
static pthread_t server;
static int exit_code;

static void *serve(void *user)
{
    char *argv[] = {
        "-m",  "tests/data/models/tiny", "--listen", listen_at, "--log-level",
        "off", "--drain-grace",          "0",        NULL};

    (void)user;
    (void)pthread_mutex_lock(&mutex);
    loop_thread = pthread_self();
    (void)pthread_mutex_unlock(&mutex);
    exit_code = server_main(sizeof argv / sizeof *argv - 1, argv);
    return NULL;
}

static int dial(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(name.sun_path, socket_path, strlen(socket_path));
    while (connect(fd, (void *)&name, sizeof name) != 0)
        (void)sched_yield(); /* it does not listen yet                       */
    return fd;
}

static void say(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, bytes, n, MSG_NOSIGNAL);

        assert_true(k > 0);
        bytes += k;
        n -= (size_t)k;
    }
}

static void ask(int fd, const char *line, const char *body)
{
    char head[256];
    int n = snprintf(head, sizeof head,
                     "%s HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     line, strlen(body));

    say(fd, head, (size_t)n);
    say(fd, body, strlen(body));
}

static char answer[1u << 16];

/* The status of the next answer, whose body is then in `answer`. */
static int hear(int fd)
{
    size_t n = 0, wanted = 0;
    char *end = NULL, *length;
    int status = 0;

    while (end == NULL || n < wanted) {
        ssize_t k = recv(fd, answer + n, sizeof answer - 1 - n, 0);

        assert_true(k > 0);
        n += (size_t)k;
        answer[n] = '\0';
        if (end != NULL || (end = strstr(answer, "\r\n\r\n")) == NULL)
            continue;
        length = strstr(answer, "Content-Length: ");
        assert_non_null(length);
        wanted = (size_t)(end + 4 - answer) + strtoul(length + 16, NULL, 10);
    }
    status = (int)strtol(answer + 9, NULL, 10);
    memmove(answer, end + 4, n - (size_t)(end + 4 - answer) + 1);
    return status;
}

static int tell(int fd, const char *line, const char *body)
{
    ask(fd, line, body);
    return hear(fd);
}

/* The number behind a name in the last answer. */
static long number(const char *name)
{
    const char *at = strstr(answer, name);

    assert_non_null(at);
    return strtol(at + strlen(name), NULL, 10);
}

/* A body of more than LARGE_BYTES that says what `json`, an object, does. */
static char *enlarge(const char *json)
{
    size_t n = LARGE_BYTES + strlen(json);
    char *body = test_malloc(n + 1);

    memset(body, ' ', n);
    memcpy(body + LARGE_BYTES, json, strlen(json) + 1);
    return body;
}

static int start(void **state)
{
    (void)state;
    n_begun = n_on_loop = 0;
    hold(false);
    if (pthread_create(&server, NULL, serve, NULL) != 0)
        return -1;
    int fd = dial();

    while (tell(fd, "GET /health/ready", "") != 200)
        (void)sched_yield();
    (void)close(fd);
    return 0;
}

static int end(void **state)
{
    (void)state;
    hold(false);
    (void)kill(getpid(), SIGTERM);
    (void)pthread_join(server, NULL);
    return exit_code;
}

/* --------------------------------------------------------------- the tests -- */

#define JOB "{\"steps\":1}"

/* While one is read and another waits for its turn, all others are served. */
static void test_others_are_served(void **state)
{
    char *large = enlarge(JOB);
    int held = dial(), waits = dial(), other = dial();

    (void)state;
    hold(true);
    ask(held, "POST /v1/jobs", large);
    until_begun(1);
    ask(waits, "POST /generate?image=url", large);
    for (int i = 0; i < 20; i++)
        assert_int_equal(tell(other, "GET /health/live", ""), 200);
    assert_int_equal(tell(other, "POST /v1/estimate", JOB), 200);
    assert_int_equal(tell(other, "GET /v1/jobs", ""), 200);
    assert_null(strstr(answer, "job_"));
    assert_int_equal(n_begun, 1);
    hold(false);
    assert_int_equal(hear(held), 202);
    assert_int_equal(hear(waits), 200);
    assert_int_equal(n_begun, 2);
    assert_int_equal(n_on_loop, 0);
    (void)close(held);
    (void)close(waits);
    (void)close(other);
    test_free(large);
}

/* What is wrong with a body is told as if it were small. */
static void test_errors_are_the_same(void **state)
{
    static const struct {
        const char *json;
        int status;
    } rows[] = {
        {"{\"steps\":0}", 422},
        {"{\"stepps\":1}", 422},
        {"[1]", 422},
        {"3", 422},
        {"{\"steps\":1", 400},
        {"", 400},
        {"{\"a\":1,\"a\":2}", 400},
        {"[[[[[[[[[1]]]]]]]]]", 400},
        {"{\"init_image\":7}", 422},
        {"{\"init_image\":\"no base64, this\"}", 422},
        {"{\"init_image\":\"aGVsbG8gd29ybGQsIGhlbGxv\"}", 422},
        {"{\"init_image\":\"/v1/artifacts/00\",\"mask\":\"%%%%%%%%%%%%%%%%\"}",
         422},
        {"{\"model\":\"none\",\"mask\":[]}", 422},
    };
    int fd = dial();

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *large = enlarge(rows[i].json), *small;

        assert_int_equal(tell(fd, "POST /generate", rows[i].json),
                         rows[i].status);
        small = test_malloc(strlen(answer) + 1);
        memcpy(small, answer, strlen(answer) + 1);
        assert_int_equal(tell(fd, "POST /generate", large), rows[i].status);
        /* All behind the request's own id; a parser tells another place.    */
        if (rows[i].status == 422)
            assert_string_equal(strstr(answer, "\"code\""),
                                strstr(small, "\"code\""));
        else
            assert_non_null(strstr(answer, "\"malformed_json\""));
        test_free(small);
        test_free(large);
    }
    assert_int_equal(n_on_loop, 0);
    (void)close(fd);
}

/* Clients that leave: one whose body is being read, one whose turn has not
 * come.  Neither becomes a job. */
static void test_hang_up(void **state)
{
    char *large = enlarge("{\"steps\":1,\"on_disconnect\":\"continue\"}");
    int held = dial(), waits = dial(), other = dial();

    (void)state;
    hold(true);
    ask(held, "POST /generate", large);
    until_begun(1);
    ask(waits, "POST /generate", large);
    (void)close(held);
    (void)close(waits);
    do
        assert_int_equal(tell(other, "GET /v1/status", ""), 200);
    while (number("\"connections\":") > 1);
    hold(false);
    assert_int_equal(tell(other, "POST /v1/estimate", large), 200);
    assert_int_equal(n_begun, 2); /* the held one and this                   */
    assert_int_equal(tell(other, "GET /v1/jobs", ""), 200);
    assert_null(strstr(answer, "job_"));
    (void)close(other);
    test_free(large);
}

/* A drain waits for what is being read, then refuses what that asks for. */
static void test_drain(void **state)
{
    char *large = enlarge(JOB);
    int held = dial(), other = dial();

    (void)state;
    hold(true);
    ask(held, "POST /v1/jobs", large);
    until_begun(1);
    (void)kill(getpid(), SIGTERM);
    while (tell(other, "GET /health/ready", "") == 200)
        (void)sched_yield();
    for (int i = 0; i < 20; i++)
        assert_int_equal(tell(other, "GET /health/live", ""), 200);
    hold(false);
    assert_int_equal(hear(held), 503);
    assert_non_null(strstr(answer, "\"draining\""));
    (void)close(held);
    (void)close(other);
    test_free(large);
    (void)pthread_join(server, NULL);
    assert_int_equal(exit_code, 0);
}

/* A second signal waits for nothing: all are answered, then it ends. */
static void test_stop(void **state)
{
    char *large = enlarge(JOB);
    int held = dial(), waits = dial(), other = dial();

    (void)state;
    hold(true);
    ask(held, "POST /v1/jobs", large);
    until_begun(1);
    ask(waits, "POST /v1/jobs", large);
    do
        assert_int_equal(tell(other, "GET /v1/status", ""), 200);
    while (number("\"connections\":") < 3);
    (void)kill(getpid(), SIGTERM);
    while (tell(other, "GET /health/ready", "") == 200)
        (void)sched_yield();
    (void)kill(getpid(), SIGTERM);
    assert_int_equal(hear(held), 503);
    assert_non_null(strstr(answer, "\"shutting_down\""));
    assert_int_equal(hear(waits), 503);
    hold(false);
    (void)pthread_join(server, NULL);
    assert_int_equal(exit_code, 0);
    assert_int_equal(n_begun, 1);
    (void)close(held);
    (void)close(waits);
    (void)close(other);
    test_free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_others_are_served, start, end),
        cmocka_unit_test_setup_teardown(test_errors_are_the_same, start, end),
        cmocka_unit_test_setup_teardown(test_hang_up, start, end),
        cmocka_unit_test_setup(test_drain, start),
        cmocka_unit_test_setup(test_stop, start),
    };
    int failed;

    if (mkdtemp(folder) == NULL)
        return 1;
    (void)snprintf(socket_path, sizeof socket_path, "%s/s", folder);
    (void)snprintf(listen_at, sizeof listen_at, "unix:%s", socket_path);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(socket_path);
    (void)rmdir(folder);
    return failed;
}
