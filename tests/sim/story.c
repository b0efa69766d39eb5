#include <stdarg.h>
#include <string.h>

#include "tests/sim/world.h"

void tell(struct world *w, const struct host *h, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    int n = snprintf(line, sizeof line, "%9.3f  %-9s ", (double)w->now_ms / 1000, h ? h->name : "-");
    va_start(ap, fmt);
    vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
    va_end(ap);
    crypto_generichash_update(&w->hash, (const unsigned char *)line, strlen(line));
    if (w->story)
        fprintf(w->story, "%s\n", line);
}

void broken(struct world *w, int invariant, const char *fmt, ...)
{
    if (!w->out->ok)
        return; /* the first is the one to look at */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->out->fault, sizeof w->out->fault, fmt, ap);
    va_end(ap);
    w->out->ok = false;
    w->out->invariant = invariant;
    tell(w, NULL, "BROKEN, invariant %d: %s", invariant, w->out->fault);
}
