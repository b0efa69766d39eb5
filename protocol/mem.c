#include "protocol/mem.h"

#include <string.h>

int mem_copy_text(char *dst, size_t dst_bytes, const char *src)
{
    size_t n = strlen(src);
    if (n >= dst_bytes)
        return -1;
    memcpy(dst, src, n + 1);
    return 0;
}

void mem_clip_text(char *dst, size_t dst_bytes, const char *src)
{
    size_t n = strnlen(src, dst_bytes - 1);
    while (n > 0 && ((unsigned char)src[n] & 0xc0) == 0x80)
        n--;
    for (size_t i = 0; i < n; i++)
        dst[i] = (unsigned char)src[i] < 0x20 || src[i] == 0x7f ? ' ' : src[i];
    dst[n] = '\0';
}

void mem_hex(char *out, const unsigned char *src, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes; i++) {
        out[2 * i] = digits[src[i] >> 4];
        out[2 * i + 1] = digits[src[i] & 15];
    }
    out[2 * bytes] = '\0';
}
