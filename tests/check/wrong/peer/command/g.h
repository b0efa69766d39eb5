#include "protocol/b.h"
