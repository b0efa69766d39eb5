#include "protocol/b.h"
#include "peer/executor/e.h"
