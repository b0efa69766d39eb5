#include "discovery/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool address_equal(const struct address *a, const struct address *b)
{
    return a->n == b->n && memcmp(a->b, b->b, a->n) == 0;
}

void address_from_in(struct in_addr in, struct address *out)
{
    *out = (struct address){.n = 4};
    memcpy(out->b, &in.s_addr, 4);
}

void address_text(const struct address *a, char out[static STEP_ADDRESS_BYTES])
{
    int family = a->n == 16 ? AF_INET6 : AF_INET;
    if ((a->n != 4 && a->n != 16) || !inet_ntop(family, a->b, out, STEP_ADDRESS_BYTES))
        out[0] = '\0';
}

int address_parse(const char *text, struct address *out)
{
    struct address a = {0};
    if (inet_pton(AF_INET, text, a.b) == 1)
        a.n = 4;
    else if (inet_pton(AF_INET6, text, a.b) == 1)
        a.n = 16;
    else
        return KPEER_EINVAL;
    *out = a;
    return 0;
}

/* Decimal digits only, as a number up to `max`; -1 when it is anything else. */
static long parse_number(const char *text, long max)
{
    if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 5)
        return -1;
    long value = strtol(text, NULL, 10);
    return value <= max ? value : -1;
}

int network_parse(const char *text, struct network *out, struct err *err)
{
    struct network net = {0};
    char buf[STEP_CIDR_BYTES];
    const char *slash = strchr(text, '/');
    if (!slash || (size_t)(slash - text) >= sizeof buf)
        return err_set(err, KPEER_EINVAL, "\"%.60s\" is not ADDRESS/PREFIX", text);
    memcpy(buf, text, (size_t)(slash - text));
    buf[slash - text] = '\0';
    if (address_parse(buf, &net.address))
        return err_set(err, KPEER_EINVAL, "\"%.60s\" does not begin with an address", text);
    long prefix = parse_number(slash + 1, net.address.n * 8L);
    if (prefix < 0)
        return err_set(err, KPEER_EINVAL, "the prefix of \"%.60s\" is not 0..%u", text, net.address.n * 8U);
    net.prefix = (unsigned)prefix;
    *out = net;
    return 0;
}

static struct address masked(const struct address *a, unsigned prefix)
{
    struct address m = *a;
    for (unsigned i = 0; i < a->n; i++) {
        unsigned keep = prefix >= 8 * (i + 1) ? 8 : prefix > 8 * i ? prefix - 8 * i : 0;
        m.b[i] = (uint8_t)(m.b[i] & (0xff00U >> keep));
    }
    return m;
}

bool network_contains(const struct network *net, const struct address *a)
{
    struct address x = masked(&net->address, net->prefix), y = masked(a, net->prefix);
    return address_equal(&x, &y);
}

void network_text(const struct network *net, char out[static STEP_CIDR_BYTES])
{
    char text[STEP_ADDRESS_BYTES];
    struct address m = masked(&net->address, net->prefix);
    address_text(&m, text);
    snprintf(out, STEP_CIDR_BYTES, "%s/%u", text, net->prefix % 1000);
}

int address_parse_endpoint(const char *text, struct address *out, uint16_t *port, struct err *err)
{
    char host[STEP_ADDRESS_BYTES];
    const char *end = NULL, *colon = NULL;
    bool bracketed = text[0] == '[';
    const char *start = bracketed ? text + 1 : text;
    if (bracketed) {
        end = strchr(start, ']');
        if (end && end[1] == ':')
            colon = end + 1;
        else if (end && end[1])
            end = NULL;
    } else {
        colon = strchr(start, ':');
        if (colon && strchr(colon + 1, ':'))
            colon = NULL; /* a bare IPv6 address */
        end = colon ? colon : start + strlen(start);
    }
    if (!end || (size_t)(end - start) >= sizeof host)
        return err_set(err, KPEER_EINVAL, "\"%.60s\" is not ADDRESS or ADDRESS:PORT", text);
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    struct address a;
    if (address_parse(host, &a))
        return err_set(err, KPEER_EINVAL, "\"%.60s\" is not an address", host);
    long number = colon ? parse_number(colon + 1, 65535) : *port;
    if (colon && number <= 0)
        return err_set(err, KPEER_EINVAL, "the port of \"%.60s\" is not 1..65535", text);
    *out = a;
    *port = (uint16_t)number;
    return 0;
}
