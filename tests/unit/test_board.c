/* The board under `kpeer up`'s live line: what is shown of each member, in what room. */
#include "peer/command/board.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *member(const char *name, const char *state, const char *phase, long long ms)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "name", name, "role", "worker", "state", state,
                     "phase", phase, "phase_ms", (json_int_t)ms, "last_heard_ms", (json_int_t)ms / 2);
}

static void take(struct board *b, json_t *const *members, size_t n, long long now_ms)
{
    json_t *list = json_array(), *answer;

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, members[i]);
    answer = json_pack("{s:o}", "members", list);
    board_take(b, answer, now_ms);
    json_decref(answer);
}

/* The caller frees it. */
static char *shown(const struct board *b, size_t rows, size_t columns, long long now_ms, size_t *lines)
{
    char *text = NULL;
    size_t n = 0;
    struct writer w = {.to = open_memstream(&text, &n)};

    assert_non_null(w.to);
    *lines = board_put(b, &w, rows, columns, now_ms);
    fclose(w.to);
    return text;
}

static void test_who_does_what_for_how_long(void **state)
{
    struct board *b = board_new();
    size_t lines;
    char *text;

    (void)state;
    take(b, (json_t *[]){member("node1", "alive", "joining", 2000), member("n2", "suspect", "ready", 2000)},
         2, 3000);
    text = shown(b, 10, 79, 4000, &lines);
    assert_int_equal(lines, 2);
    assert_string_equal(text, "  node1  worker  joining 3 s\n  n2     worker  suspect 2 s\n");
    free(text);
    take(b, (json_t *[]){member("node1", "alive", "joining", 119000), member("n2", "alive", "joining", 0)}, 2,
         5000);
    text = shown(b, 10, 79, 5999, &lines);
    assert_string_equal(text, "  node1  worker  joining 119 s\n  n2     worker  joining\n");
    free(text);
    text = shown(b, 10, 79, 6000, &lines);
    assert_string_equal(text, "  node1  worker  joining 2 min 0 s\n  n2     worker  joining 1 s\n");
    free(text);
    board_free(b);
}

static void test_no_line_is_wider_than_the_terminal(void **state)
{
    struct board *b = board_new();

    (void)state;
    take(b, (json_t *[]){member("工作节点一号机器", "alive", "initialising", 0)}, 1, 0);
    for (size_t columns = 1; columns < 60; columns++) {
        size_t lines;
        char cut[200], *text = shown(b, 5, columns, 90000, &lines);

        assert_int_equal(lines, 1);
        assert_int_equal(text[strlen(text) - 1], '\n');
        text[strlen(text) - 1] = '\0';
        assert_null(strchr(text, '\n'));
        assert_true(writer_cut(cut, sizeof cut, text, 1000) <= columns);
        free(text);
    }
    board_free(b);
}

static void test_who_is_ready_makes_room(void **state)
{
    struct board *b = board_new();
    size_t lines;
    char *text;

    (void)state;
    take(b,
         (json_t *[]){member("a", "alive", "ready", 0), member("b", "alive", "ready", 0),
                      member("c", "alive", "joining", 0), member("d", "alive", "joining", 0)},
         4, 0);
    text = shown(b, 4, 79, 0, &lines);
    assert_int_equal(lines, 4);
    assert_null(strstr(text, "more"));
    free(text);
    text = shown(b, 3, 79, 0, &lines);
    assert_int_equal(lines, 3);
    assert_string_equal(text, "  c  worker  joining\n  d  worker  joining\n  and 2 more: kpeer members\n");
    free(text);
    text = shown(b, 2, 79, 0, &lines);
    assert_string_equal(text, "  c  worker  joining\n  and 3 more: kpeer members\n");
    free(text);
    text = shown(b, 0, 79, 0, &lines);
    assert_int_equal(lines, 0);
    assert_string_equal(text, "");
    free(text);
    board_free(b);
}

static void test_answers_of_another_shape(void **state)
{
    struct board *b = board_new();
    json_t *answer = json_pack("{s:[i, s, {s:i}]}", "members", 1, "x", "name", 5);
    size_t lines;
    char *text;

    (void)state;
    board_take(b, NULL, 0);
    board_take(b, answer, 0);
    text = shown(b, 10, 79, 0, &lines);
    assert_int_equal(lines, 3);
    free(text);
    json_decref(answer);
    board_free(b);
    board_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_does_what_for_how_long),
        cmocka_unit_test(test_no_line_is_wider_than_the_terminal),
        cmocka_unit_test(test_who_is_ready_makes_room),
        cmocka_unit_test(test_answers_of_another_shape),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
