#include <stdlib.h>

#include "tests/sim/world.h"

static bool sooner(const struct item *a, const struct item *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void swap_items(struct item *a, struct item *b)
{
    struct item t = *a;
    *a = *b;
    *b = t;
}

void queue_put(struct queue *q, struct item it)
{
    if (q->count == q->room) {
        q->room = q->room ? 2 * q->room : 256;
        q->heap = realloc(q->heap, q->room * sizeof *q->heap);
        if (!q->heap)
            abort();
    }
    it.order = ++q->order;
    size_t i = q->count++;
    q->heap[i] = it;
    for (; i > 0 && sooner(&q->heap[i], &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap_items(&q->heap[i], &q->heap[(i - 1) / 2]);
}

bool queue_take(struct queue *q, struct item *out)
{
    if (q->count == 0)
        return false;
    *out = q->heap[0];
    q->heap[0] = q->heap[--q->count];
    for (size_t i = 0;;) {
        size_t k = 2 * i + 1;
        if (k >= q->count)
            break;
        if (k + 1 < q->count && sooner(&q->heap[k + 1], &q->heap[k]))
            k++;
        if (!sooner(&q->heap[k], &q->heap[i]))
            break;
        swap_items(&q->heap[i], &q->heap[k]);
        i = k;
    }
    return true;
}

void queue_free(struct queue *q)
{
    struct item it;
    while (queue_take(q, &it))
        if (it.packet)
            packet_release(it.packet);
    free(q->heap);
}
