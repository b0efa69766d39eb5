#include "protocol/b.h"
#include "discovery/c.h"
#include "peer/d.h"
#include "b.h"
#include <string.h>
