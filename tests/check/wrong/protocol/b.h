#include <protocol/b.h>
