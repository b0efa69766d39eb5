/* Listening before there is a key: it ends in time, whatever is sent meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "discovery/listen.h"
#include "protocol/seal.h"

#define PORT      47373
#define LISTEN_MS 400

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* A process that sends beacons' heads of ever new groups, as fast as it can. */
static pid_t flood(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    uint8_t bytes[SEAL_OVERHEAD_BYTES] = {'K', 'P', SEAL_VERSION, SEAL_BEACON};
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    to.sin_addr.s_addr = inet_addr("127.0.0.1");
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    for (uint32_t i = 0;; i++) {
        memcpy(bytes + 4, &i, sizeof i);
        (void)sendto(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&to, sizeof to);
    }
}

static void test_a_flood_does_not_hold_it(void **state)
{
    struct address group = {.n = 4, .b = {239, 255, 73, 73}};
    struct listen_result result = {0};
    (void)state;
    pid_t sender[2] = {flood(), flood()};
    uint64_t began_ms = now_ms();
    int rc = discovery_listen(&group, PORT, NULL, LISTEN_MS, &result, NULL);
    uint64_t took_ms = now_ms() - began_ms;
    for (int i = 0; i < 2; i++) {
        kill(sender[i], SIGKILL);
        waitpid(sender[i], NULL, 0);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(result.group_count, LISTEN_HEARD_MAX);
    assert_true(took_ms >= LISTEN_MS && took_ms < 10 * LISTEN_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_flood_does_not_hold_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
