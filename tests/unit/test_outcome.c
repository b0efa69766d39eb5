/* What `kpeer up` says when it is done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "peer/command/outcome.h"
#include "protocol/step.h"

/* However long the names are, each that is named is whole, and the rest is counted. */
static void test_long_names(void **state)
{
    char name[STEP_NAME_BYTES], tail[STEP_NAME_BYTES + 32], *text = NULL;
    json_t *status = json_object(), *list = json_array(), *members = json_pack("{s:o}", "members", list);
    struct outcome o = {.status = status, .members = members, .flags = ""};
    size_t n = 0;
    struct writer out = {.to = open_memstream(&text, &n)};
    struct progress p;

    (void)state;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (char last = 'a'; last < 'a' + 10; last++) {
        name[sizeof name - 2] = last;
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s}", "name", name, "state", "alive", "phase", "ready"));
    }
    progress_init(&p, &out);
    outcome_tell(&p, &o);
    fclose(out.to);
    name[sizeof name - 2] = 'h';
    snprintf(tail, sizeof tail, ", %s and 2 more\n", name);
    assert_non_null(strstr(text, "ready so far: 10 hosts: xxx"));
    assert_non_null(strstr(text, tail));
    free(text);
    json_decref(status);
    json_decref(members);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_long_names)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
