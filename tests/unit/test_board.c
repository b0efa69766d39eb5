/* The board under `kpeer up`'s live line: what is shown of each member, in what room. */
#include "peer/board.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *member(const char *id, const char *name, const char *state, const char *phase)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", id, "name", name, "role", "worker", "state", state,
                     "phase", phase);
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
    take(b, (json_t *[]){member("1", "node1", "alive", "joining"), member("2", "n2", "alive", "ready")}, 2,
         1000);
    take(b, (json_t *[]){member("1", "node1", "alive", "joining"), member("2", "n2", "suspect", "ready")}, 2,
         3000);
    text = shown(b, 10, 79, 4000, &lines);
    assert_int_equal(lines, 2);
    assert_string_equal(text, "  node1  worker  joining 3 s\n  n2     worker  suspect 1 s\n");
    free(text);
    /* Somebody else under the place of one that is gone does not inherit its time; a new phase begins at 0.
     */
    take(b, (json_t *[]){member("3", "node1", "alive", "joining"), member("2", "n2", "alive", "joining")}, 2,
         5000);
    text = shown(b, 10, 79, 5000, &lines);
    assert_string_equal(text, "  node1  worker  joining\n  n2     worker  joining\n");
    free(text);
    board_free(b);
}

static void test_no_line_is_wider_than_the_terminal(void **state)
{
    struct board *b = board_new();

    (void)state;
    take(b, (json_t *[]){member("1", "工作节点一号机器", "alive", "initialising")}, 1, 0);
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
         (json_t *[]){member("1", "a", "alive", "ready"), member("2", "b", "alive", "ready"),
                      member("3", "c", "alive", "joining"), member("4", "d", "alive", "joining")},
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
