/* t_log.c - lines of the log hold what they were given and nothing else.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"

/* Everything that a line with hostile values left in the pipe. */
static void log_hostile(bool is_json, char *out, size_t size)
{
    char huge[LOG_MAX_LINE * 2];
    struct log_line line;
    int ends[2];
    ssize_t n;

    memset(huge, '"', sizeof huge - 1);
    huge[sizeof huge - 1] = 0;
    assert_int_equal(pipe(ends), 0);
    log_open(ends[1], LOG_LEVEL_INFO, is_json);
    log_begin(&line, LOG_LEVEL_DEBUG, "not this");
    log_end(&line);
    log_begin(&line, LOG_LEVEL_WARN, "hostile");
    log_text(&line, "utf8", "\xc3\xb6\xf0\x9f\x8e\xa8");
    log_text(&line, "none", "\xc3(\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82");
    log_text(&line, "a", "x\r\n{\"level\":\"error\"}\x1b[31m\xff\"\\");
    log_int(&line, "n", -3);
    log_text(&line, "huge", huge);
    log_bool(&line, "late", true);
    log_end(&line);
    log_open(STDERR_FILENO, LOG_LEVEL_OFF, true);
    n = read(ends[0], out, size - 1);
    out[n > 0 ? n : 0] = 0;
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void test_log_escapes(void **state)
{
    char text[LOG_MAX_LINE * 2];
    int is_json;
    const char *p;

    (void)state;
    for (is_json = 0; is_json < 2; is_json++) {
        log_hostile(is_json, text, sizeof text);
        assert_null(strstr(text, "not this"));
        assert_non_null(strstr(text, "\\u000d\\u000a{\\u0022level\\u0022"));
        assert_null(strchr(text, 0x1b));
        assert_non_null(strstr(text, "\"\\u00f6\\ud83c\\udfa8\""));
        assert_non_null(strstr(text, "\"\\u00c3(\\u00ed\\u00a0\\u0080\\u00f4"
                                     "\\u0090\\u0080\\u0080\\u00e2\\u0082\""));
        for (p = text; *p; p++)
            if ((unsigned char)*p >= 0x80)
                fail_msg("byte %u in a log line", (unsigned char)*p);
        p = strchr(text, '\n');
        assert_non_null(p);
        assert_int_equal(p[1], 0);
        assert_true(strlen(text) <= LOG_MAX_LINE);
        if (is_json)
            assert_string_equal(p - 12, "\",\"cut\":true}\n" + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_escapes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
