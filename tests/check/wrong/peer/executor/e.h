#include "peer/d.h"
#include "discovery/c.h"
