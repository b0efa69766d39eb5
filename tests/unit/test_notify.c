#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer/notify.h"

static void test_ready(void **state)
{
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    notify_use_pipe(fd[1]);
    notify_ready();
    assert_int_equal(notify_wait(fd[0], 1000, NULL), 0);
    close(fd[0]);
}

/* What failed reaches the other end word for word; after readiness there is nobody to tell. */
static void test_failed(void **state)
{
    struct err told = {0}, heard = {0};
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    notify_use_pipe(fd[1]);
    err_set(&told, KPEER_EREFUSED, "the key is open to others");
    err_hint(&told, "chmod 600");
    notify_failed(&told);
    notify_failed(&told);
    assert_int_equal(notify_wait(fd[0], 1000, &heard), KPEER_EREFUSED);
    assert_string_equal(heard.text, "the key is open to others");
    assert_string_equal(heard.hint, "chmod 600");
    close(fd[0]);
}

static void test_silent_end(void **state)
{
    struct err heard = {0};
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(notify_wait(fd[0], 20, &heard), KPEER_ETIMEOUT);
    close(fd[1]);
    assert_int_equal(notify_wait(fd[0], 1000, &heard), KPEER_EIO);
    close(fd[0]);
}

static void test_systemd(void **state)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char heard[64] = "";
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    (void)state;
    snprintf(to.sun_path, sizeof to.sun_path, "/tmp/kpeer-notify-%ld", (long)getpid());
    assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof to), 0);
    setenv("NOTIFY_SOCKET", to.sun_path, 1);
    notify_ready();
    assert_true(recv(fd, heard, sizeof heard - 1, 0) > 0);
    assert_string_equal(heard, "READY=1");
    setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
    notify_ready(); /* nobody listens: no harm */
    unsetenv("NOTIFY_SOCKET");
    unlink(to.sun_path);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ready),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_silent_end),
        cmocka_unit_test(test_systemd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
