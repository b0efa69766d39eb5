#include "peer/executor/images/pool.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS_MAX 16

struct pool {
    atomic_size_t next;
    size_t count;
    void (*work)(void *arg, size_t i);
    void *arg;
};

static void *work_off(void *arg)
{
    struct pool *pool = arg;
    for (;;) {
        size_t i = atomic_fetch_add(&pool->next, 1);
        if (i >= pool->count)
            return NULL;
        pool->work(pool->arg, i);
    }
}

void pool_run(size_t count, size_t parallel, void (*work)(void *arg, size_t i), void *arg)
{
    struct pool pool = {.count = count, .work = work, .arg = arg};
    pthread_t threads[THREADS_MAX];
    size_t started = 0;
    size_t wanted = parallel < count ? parallel : count;
    if (wanted > THREADS_MAX)
        wanted = THREADS_MAX;
    while (started + 1 < wanted && pthread_create(&threads[started], NULL, work_off, &pool) == 0)
        started++;
    work_off(&pool); /* the caller is one of them */
    while (started > 0)
        pthread_join(threads[--started], NULL);
}
