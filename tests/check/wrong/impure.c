/* For check.purity-refuses-state: a function that remembers. */
#include <stdlib.h>

int remembers(int add);

static int calls;

int remembers(int add)
{
    calls += abs(add);
    return calls;
}
