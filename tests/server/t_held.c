/* t_held.c - the service whole, with work off the loop held: large bodies that
 * are read, models that are made with LoRAs.
 *
 * The program is linked with `--wrap` for the two functions that such work
 * begins with: jdoc_parse() of a body and unstir_model_derive_cancelable().  So a
 * test can hold the thread that calls one and see which thread that is.  The
 * service runs on a thread of its own and is talked to by a Unix socket.
 *
 * SPDX-License-Identifier: MIT
 */
#include <poll.h>
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
#include "unstir.h"

#define LARGE_BYTES ((size_t)1 << 20)

/* ----------------------------------------------------------- what is held -- */

/* Nothing else is locked with it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
enum held { NOTHING, PARSES, DERIVES };
static enum held held;
static unsigned n_begun, n_on_loop; /* of what is held, or was               */
static pthread_t loop_thread;

static void pass(enum held what)
{
    (void)pthread_mutex_lock(&mutex);
    n_begun++;
    n_on_loop += pthread_equal(pthread_self(), loop_thread) != 0;
    (void)pthread_cond_broadcast(&changed);
    while (held == what)
        (void)pthread_cond_wait(&changed, &mutex);
    (void)pthread_mutex_unlock(&mutex);
}

/* The linker calls by these names what stands here and what stood there. */
struct jdoc *__real_jdoc_parse(const char *bytes, size_t n, char *why,
                               size_t why_size);
struct jdoc *__wrap_jdoc_parse(const char *bytes, size_t n, char *why,
                               size_t why_size);
enum unstir_status __real_unstir_model_derive_cancelable(
    struct unstir_model **out, const struct unstir_model *base,
    const struct unstir_lora *loras, size_t n_loras,
    unstir_canceled_fn is_canceled, void *user, struct unstir_error *error);
enum unstir_status __wrap_unstir_model_derive_cancelable(
    struct unstir_model **out, const struct unstir_model *base,
    const struct unstir_lora *loras, size_t n_loras,
    unstir_canceled_fn is_canceled, void *user, struct unstir_error *error);

struct jdoc *__wrap_jdoc_parse(const char *bytes, size_t n, char *why,
                               size_t why_size)
{
    if (n >= LARGE_BYTES)
        pass(PARSES);
    return __real_jdoc_parse(bytes, n, why, why_size);
}

enum unstir_status __wrap_unstir_model_derive_cancelable(
    struct unstir_model **out, const struct unstir_model *base,
    const struct unstir_lora *loras, size_t n_loras,
    unstir_canceled_fn is_canceled, void *user, struct unstir_error *error)
{
    pass(DERIVES);
    return __real_unstir_model_derive_cancelable(out, base, loras, n_loras,
                                                 is_canceled, user, error);
}

static void hold(enum held what)
{
    (void)pthread_mutex_lock(&mutex);
    held = what;
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

static char folder[] = "/tmp/t_held.XXXXXX";
static char socket_path[64], listen_at[80], lora_path[64];
static pthread_t server;
static int exit_code;

static void *serve(void *user)
{
    char *argv[] = {"-m",
                    "tests/data/models/tiny-text",
                    "--lora-dir",
                    folder,
                    "--listen",
                    listen_at,
                    "--log-level",
                    "off",
                    "--nice",
                    "0", /* as the test: others shall not starve it          */
                    "--drain-grace",
                    "0",
                    NULL};

    (void)user;
    (void)pthread_mutex_lock(&mutex);
    loop_thread = pthread_self();
    (void)pthread_mutex_unlock(&mutex);
    exit_code = server_main(sizeof argv / sizeof *argv - 1, argv);
    return NULL;
}

/* Between two looks at something that other threads do, at a lower priority. */
static void give_way(void)
{
    (void)poll(NULL, 0, 2);
}

static int dial(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(name.sun_path, socket_path, strlen(socket_path));
    while (connect(fd, (void *)&name, sizeof name) != 0)
        give_way(); /* it does not listen yet                       */
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
        wanted = (size_t)(end + 4 - answer);
        if (length != NULL) /* 204 has none                                  */
            wanted += strtoul(length + 16, NULL, 10);
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
    hold(NOTHING);
    if (pthread_create(&server, NULL, serve, NULL) != 0)
        return -1;
    int fd = dial();

    while (tell(fd, "GET /health/ready", "") != 200)
        give_way();
    (void)close(fd);
    return 0;
}

static int end(void **state)
{
    (void)state;
    hold(NOTHING);
    (void)kill(getpid(), SIGTERM);
    (void)pthread_join(server, NULL);
    return exit_code;
}

/* A client whose body is being read, held. */
static int hold_first(const char *line, const char *body)
{
    int fd = dial();

    hold(PARSES);
    ask(fd, line, body);
    until_begun(1);
    return fd;
}

/* As the service manager does; `fd` sees that it has come. */
static void send_term(int fd)
{
    (void)kill(getpid(), SIGTERM);
    while (tell(fd, "GET /health/ready", "") == 200)
        give_way();
}

static void until_stopped(void)
{
    (void)pthread_join(server, NULL);
    assert_int_equal(exit_code, 0);
}

/* --------------------------------------------------------------- the tests -- */

#define JOB "{\"steps\":1}"

/* While one is read and another waits for its turn, all others are served. */
static void test_others_are_served(void **state)
{
    char *large = enlarge(JOB);
    int first = hold_first("POST /v1/jobs", large);
    int waits = dial(), other = dial();

    (void)state;
    ask(waits, "POST /generate?image=url", large);
    for (int i = 0; i < 20; i++)
        assert_int_equal(tell(other, "GET /health/live", ""), 200);
    assert_int_equal(tell(other, "POST /v1/estimate", JOB), 200);
    assert_int_equal(tell(other, "GET /v1/jobs", ""), 200);
    assert_null(strstr(answer, "job_"));
    assert_int_equal(n_begun, 1);
    hold(NOTHING);
    assert_int_equal(hear(first), 202);
    assert_int_equal(hear(waits), 200);
    assert_int_equal(n_begun, 2);
    assert_int_equal(n_on_loop, 0);
    (void)close(first);
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
    int first = hold_first("POST /generate", large);
    int waits = dial(), other = dial();

    (void)state;
    ask(waits, "POST /generate", large);
    (void)close(first);
    (void)close(waits);
    do
        assert_int_equal(tell(other, "GET /v1/status", ""), 200);
    while (number("\"connections\":") > 1);
    hold(NOTHING);
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
    int first = hold_first("POST /v1/jobs", large), other = dial();

    (void)state;
    send_term(other);
    for (int i = 0; i < 20; i++)
        assert_int_equal(tell(other, "GET /health/live", ""), 200);
    hold(NOTHING);
    assert_int_equal(hear(first), 503);
    assert_non_null(strstr(answer, "\"draining\""));
    (void)close(first);
    (void)close(other);
    test_free(large);
    until_stopped();
}

/* A second signal waits for nothing: all are answered, then it ends. */
static void test_stop(void **state)
{
    char *large = enlarge(JOB);
    int first = hold_first("POST /v1/jobs", large);
    int waits = dial(), other = dial();

    (void)state;
    ask(waits, "POST /v1/jobs", large);
    do
        assert_int_equal(tell(other, "GET /v1/status", ""), 200);
    while (number("\"connections\":") < 3);
    send_term(other);
    (void)kill(getpid(), SIGTERM);
    assert_int_equal(hear(first), 503);
    assert_non_null(strstr(answer, "\"shutting_down\""));
    assert_int_equal(hear(waits), 503);
    hold(NOTHING);
    until_stopped();
    assert_int_equal(n_begun, 1);
    (void)close(first);
    (void)close(waits);
    (void)close(other);
    test_free(large);
}

/* A job of a model with the LoRA, that is being made when this returns. */
static void ask_derived(int fd, char path[64])
{
    static const char id_of[] = "\"id\":\"";

    assert_int_equal(
        tell(fd, "POST /v1/jobs",
             "{\"steps\":1,\"width\":16,\"height\":16,\"loras\":[\"ink\"]}"),
        202);
    assert_non_null(strstr(answer, id_of));
    (void)snprintf(path, 64, "DELETE /v1/jobs/%.30s",
                   strstr(answer, id_of) + strlen(id_of));
    until_begun(1);
}

/* Members of "loras" in /v1/status: until one is what it should be. */
static void until_counted(int fd, const char *name, long n)
{
    do {
        give_way();
        assert_int_equal(tell(fd, "GET /v1/status", ""), 200);
    } while ((memmove(answer, strstr(answer, "\"loras\":"),
                      strlen(strstr(answer, "\"loras\":")) + 1),
              number(name)) != n);
}

/* The only job that waits for a model goes; another makes it after all. */
static void test_deriving_given_up(void **state)
{
    char path[64];
    int fd = dial();

    (void)state;
    hold(DERIVES);
    ask_derived(fd, path);
    assert_int_equal(n_on_loop, 0);
    assert_int_equal(tell(fd, path, ""), 204);
    hold(NOTHING);
    until_counted(fd, "\"canceled\":", 1);
    assert_int_equal(number("\"made\":"), 0);
    assert_int_equal(number("\"failed\":"), 0);
    ask_derived(fd, path);
    until_counted(fd, "\"made\":", 1);
    (void)close(fd);
}

/* While another job waits for it, it is made. */
static void test_deriving_goes_on(void **state)
{
    char one[64], other[64];
    int fd = dial();

    (void)state;
    hold(DERIVES);
    ask_derived(fd, one);
    ask_derived(fd, other);
    assert_int_equal(tell(fd, one, ""), 204);
    hold(NOTHING);
    until_counted(fd, "\"made\":", 1);
    assert_int_equal(number("\"canceled\":"), 0);
    (void)close(fd);
}

static void test_deriving_stopped(void **state)
{
    char path[64];
    int fd = dial();

    (void)state;
    hold(DERIVES);
    ask_derived(fd, path);
    send_term(fd);
    (void)kill(getpid(), SIGTERM);
    while (recv(fd, answer, sizeof answer, 0) > 0)
        continue; /* closed: it has stopped                                  */
    (void)close(fd);
    hold(NOTHING);
    until_stopped();
}

/* Rank 1, of zeroes. */
static bool write_lora(void)
{
    static const char header[] =
        "{\"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k."
        "lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[1,8],"
        "\"data_offsets\":[0,32]},"
        "\"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k."
        "lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[8,1],"
        "\"data_offsets\":[32,64]}}";
    const uint8_t size[8] = {(uint8_t)(sizeof header - 1),
                             (uint8_t)((sizeof header - 1) >> 8)};
    const float zeroes[16] = {0};
    FILE *file = fopen(lora_path, "wb");
    bool is_good =
        file != NULL && fwrite(size, 1, sizeof size, file) == sizeof size &&
        fwrite(header, 1, sizeof header - 1, file) == sizeof header - 1 &&
        fwrite(zeroes, 1, sizeof zeroes, file) == sizeof zeroes;

    return file != NULL && fclose(file) == 0 && is_good;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_others_are_served, start, end),
        cmocka_unit_test_setup_teardown(test_errors_are_the_same, start, end),
        cmocka_unit_test_setup_teardown(test_hang_up, start, end),
        cmocka_unit_test_setup(test_drain, start),
        cmocka_unit_test_setup(test_stop, start),
        cmocka_unit_test_setup_teardown(test_deriving_given_up, start, end),
        cmocka_unit_test_setup_teardown(test_deriving_goes_on, start, end),
        cmocka_unit_test_setup(test_deriving_stopped, start),
    };
    int failed;

    if (mkdtemp(folder) == NULL)
        return 1;
    (void)snprintf(socket_path, sizeof socket_path, "%s/s", folder);
    (void)snprintf(listen_at, sizeof listen_at, "unix:%s", socket_path);
    (void)snprintf(lora_path, sizeof lora_path, "%s/ink.safetensors", folder);
    if (!write_lora())
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(socket_path);
    (void)unlink(lora_path);
    (void)rmdir(folder);
    return failed;
}
