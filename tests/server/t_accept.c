/* t_accept.c - every row of the table of forms.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "accept.h"

static void test_forms(void **state)
{
    static const struct {
        const char *header;
        enum accept_form one, several;
    } rows[] = {
        {NULL, FORM_PNG, FORM_JSON},
        {"", FORM_PNG, FORM_JSON},
        {"*/*", FORM_PNG, FORM_JSON},
        {"image/png", FORM_PNG, FORM_NONE},
        {"image/*", FORM_PNG, FORM_NONE},
        {"image/png, multipart/mixed", FORM_PNG, FORM_MULTIPART},
        {"application/json", FORM_JSON, FORM_JSON},
        {"APPLICATION/JSON", FORM_JSON, FORM_JSON},
        {"text/event-stream", FORM_EVENTS, FORM_EVENTS},
        {"multipart/mixed", FORM_MULTIPART, FORM_MULTIPART},
        {"image/webp", FORM_NONE, FORM_NONE},
        {"text/html", FORM_NONE, FORM_NONE},
        {"image/png;q=0", FORM_NONE, FORM_NONE},
        {"image/png;q=0, */*", FORM_JSON, FORM_JSON},
        {"image/png;q=0.5, application/json", FORM_JSON, FORM_JSON},
        {"image/png;q=0.9, application/json;q=0.8", FORM_PNG, FORM_JSON},
        {"text/event-stream;q=0.1, application/json;q=0.05", FORM_EVENTS,
         FORM_EVENTS},
        {"text/html,application/xhtml+xml,*/*;q=0.8", FORM_PNG, FORM_JSON},
        {"image/avif,image/webp,image/*,*/*;q=0.8", FORM_PNG, FORM_JSON},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int one = accept_form(rows[i].header, 1);
        int several = accept_form(rows[i].header, 3);

        if (one != (int)rows[i].one || several != (int)rows[i].several)
            print_error("Accept: %s: wanted %d and %d, got %d and %d\n",
                        rows[i].header ? rows[i].header : "(none)", rows[i].one,
                        rows[i].several, one, several);
        assert_int_equal(one, rows[i].one);
        assert_int_equal(several, rows[i].several);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
