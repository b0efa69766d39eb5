/* Hosts that share a name or a machine-id get one of their own, if that is wanted, and are no Nodes yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/node_state.h"
#include "tests/unit/node_world.h"

#define READY_MS 60000

static struct world *clones(size_t count, bool automatic)
{
    struct world *w = world_new(count, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        strcpy(w->peer[i].cfg.name, "ubuntu");
        w->peer[i].cfg.rename = automatic;
        w->peer[i].machine_id = 77;
    }
    return w;
}

static int minted, revoked;

/* While the first token is made, its joiner asks anew, as after a change of its name. */
static void ask_anew(struct world *w, size_t who, const struct action *a)
{
    if (a->kind != ACT_RUN)
        return;
    revoked += a->step->kind == STEP_TOKEN_REVOKE;
    if (a->step->kind != STEP_TOKEN_MINT || minted++ > 0)
        return;
    w->peer[1 - who].node->work.ticket_nonce += 2;
    world_feed(w, 1 - who, &(struct node_event){.kind = EV_TICK}); /* tells it before the token is there */
}

static const char *name_of(const struct world *w, size_t who)
{
    return w->peer[who].node->cfg.name;
}

static void test_clones_form_a_cluster(void **state)
{
    struct world *w = clones(3, true);
    (void)state;
    for (size_t i = 0; i < 3; i++)
        world_start(w, i);
    assert_true(world_run_ready(w, READY_MS));
    assert_string_equal(name_of(w, 0), "ubuntu-11");
    assert_string_equal(name_of(w, 1), "ubuntu-12");
    assert_string_equal(name_of(w, 2), "ubuntu-13");
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(w->peer[i].machine_id, 0);
    const struct record *r = node_record(w->peer[0].node);
    assert_true(r && strncmp(r->founder_name, "ubuntu-1", 8) == 0);
    for (size_t i = 0; i < 3; i++) {
        struct member_view view;
        node_member_view(w->peer[2].node, i, w->now_ms, &view);
        assert_int_equal(strncmp(view.name, "ubuntu-1", 8), 0);
    }
    world_free(w);
}

static void test_they_stay_where_that_is_not_wanted(void **state)
{
    struct world *w = clones(3, false);
    struct node_status st;
    (void)state;
    w->peer[2].cfg.rename = w->peer[2].cfg.name_fixed = true; /* told to kpeer */
    for (size_t i = 0; i < 3; i++)
        world_start(w, i);
    assert_false(world_run_ready(w, 20000));
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(name_of(w, i), "ubuntu");
    node_status_view(w->peer[0].node, w->now_ms, &st);
    assert_non_null(strstr(st.waiting, "3 hosts are called ubuntu"));
    world_free(w);
}

/* Whose name the others have given up already before it is there gives it up, too. */
static void test_who_is_late_is_renamed_like_the_others(void **state)
{
    struct world *w = clones(3, true);
    (void)state;
    world_start(w, 0);
    world_start(w, 1);
    world_run(w, 5000);
    assert_string_equal(name_of(w, 0), "ubuntu-11");
    assert_string_equal(name_of(w, 1), "ubuntu-12");
    world_start(w, 2);
    assert_true(world_run_ready(w, READY_MS));
    assert_string_equal(name_of(w, 2), "ubuntu-13");
    world_free(w);
}

static void test_who_is_a_node_keeps_its_name(void **state)
{
    struct world *w = clones(3, true);
    (void)state;
    for (size_t i = 0; i < 3; i++)
        w->peer[i].cfg.expect = 2;
    strcpy(w->peer[1].cfg.name, "other");
    world_start(w, 0);
    world_start(w, 1);
    assert_true(world_run_ready(w, READY_MS));
    world_start(w, 2);
    assert_true(world_run_ready(w, READY_MS));
    assert_string_equal(name_of(w, 0), "ubuntu");
    assert_string_equal(name_of(w, 1), "other");
    assert_string_equal(name_of(w, 2), "ubuntu-13");
    world_free(w);
}

static void test_who_was_a_node_is_reset_first(void **state)
{
    struct world *w = clones(3, true);
    (void)state;
    for (size_t i = 0; i < 3; i++)
        w->peer[i].cfg.expect = 2;
    strcpy(w->peer[1].cfg.name, "other");
    w->peer[2].was_node = true;
    world_start(w, 0);
    world_start(w, 1);
    assert_true(world_run_ready(w, READY_MS));
    world_start(w, 2);
    assert_true(world_run_ready(w, READY_MS));
    assert_false(w->peer[2].was_node);
    assert_string_equal(name_of(w, 2), "ubuntu-13");
    world_free(w);
}

/* Its ticket is for another request than the token under way: that token is revoked, and another one made. */
static void test_a_token_is_for_the_request_that_it_was_made_for(void **state)
{
    struct world *w = world_new(2, 2);
    (void)state;
    w->on_action = ask_anew;
    for (size_t i = 0; i < 2; i++)
        world_start(w, i);
    assert_true(world_run_ready(w, READY_MS));
    assert_int_equal(minted, 2);
    assert_int_equal(revoked, 2);
    world_free(w);
}

static void test_once_on_request(void **state)
{
    struct world *w = clones(2, false);
    (void)state;
    for (size_t i = 0; i < 2; i++)
        world_start(w, i);
    world_run(w, 5000);
    world_feed(w, 1, &(struct node_event){.kind = EV_FIX, .request = 3});
    assert_true(world_run_ready(w, READY_MS));
    assert_int_equal(w->peer[1].reply_code, 0);
    assert_string_equal(name_of(w, 0), "ubuntu");
    assert_string_equal(name_of(w, 1), "ubuntu-12");
    assert_false(w->peer[1].node->work.rename_once);
    world_free(w);
}

static void test_new_names(void **state)
{
    struct world *w = clones(1, true);
    char name[STEP_NAME_BYTES];
    (void)state;
    world_start(w, 0);
    struct node *n = w->peer[0].node;
    rename_new_name(n, name);
    assert_string_equal(name, "ubuntu-11");
    n->work.renames = 1;
    rename_new_name(n, name);
    assert_string_equal(name, "ubuntu-56-11");
    n->work.renames = 9;
    rename_new_name(n, name);
    assert_string_equal(name, "ubuntu-192-168-56-11");
    n->work.renames = 0;
    strcpy(n->nets.net[0], "192.168.0.0/16");
    rename_new_name(n, name);
    assert_string_equal(name, "ubuntu-56-11");
    strcpy(n->nets.net[0], "192.168.56.0/22");
    strcpy(n->cfg.name, "web.example.org");
    rename_new_name(n, name);
    assert_string_equal(name, "web-56-11.example.org");
    memset(n->cfg.name, 'a', STEP_NAME_BYTES - 1);
    rename_new_name(n, name);
    assert_int_equal(strlen(name), STEP_NAME_BYTES - 1);
    assert_non_null(strstr(name, "aa-56-11"));
    strcpy(n->cfg.name + 40, ".bbbbbbbbbbbbbbbbbbbbb");
    rename_new_name(n, name);
    assert_int_equal(strlen(name), STEP_NAME_BYTES - 1);
    assert_non_null(strstr(name, "aa-56-11.bbb"));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clones_form_a_cluster),
        cmocka_unit_test(test_they_stay_where_that_is_not_wanted),
        cmocka_unit_test(test_who_is_late_is_renamed_like_the_others),
        cmocka_unit_test(test_who_is_a_node_keeps_its_name),
        cmocka_unit_test(test_who_was_a_node_is_reset_first),
        cmocka_unit_test(test_a_token_is_for_the_request_that_it_was_made_for),
        cmocka_unit_test(test_once_on_request),
        cmocka_unit_test(test_new_names),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
