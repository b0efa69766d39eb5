/* Ranges of addresses as text: do two of them share one? */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/check.h"
#include "protocol/mem.h"

struct range {
    int family;
    unsigned char b[16];
    unsigned bits;
};

static bool parse_cidr(const char *text, struct range *r)
{
    char address[STEP_CIDR_BYTES];
    if (mem_copy_text(address, sizeof address, text) != 0)
        return false;
    char *slash = strchr(address, '/');
    if (!slash || slash[1] < '0' || slash[1] > '9')
        return false;
    *slash = '\0';
    r->family = strchr(address, ':') ? AF_INET6 : AF_INET;
    r->bits = (unsigned)strtoul(slash + 1, NULL, 10);
    if (inet_pton(r->family, address, r->b) != 1)
        return false;
    return r->bits <= (r->family == AF_INET ? 32u : 128u);
}

static bool overlap(const struct range *x, const struct range *y)
{
    if (x->family != y->family)
        return false;
    unsigned bits = x->bits < y->bits ? x->bits : y->bits;
    if (memcmp(x->b, y->b, bits / 8) != 0)
        return false;
    unsigned rest = bits % 8;
    unsigned char mask = (unsigned char)(0xff00u >> rest);
    return rest == 0 || ((x->b[bits / 8] ^ y->b[bits / 8]) & mask) == 0;
}

bool check_cidr_overlap(const char *a, const char *b)
{
    struct range x, y;
    return parse_cidr(a, &x) && parse_cidr(b, &y) && overlap(&x, &y);
}
