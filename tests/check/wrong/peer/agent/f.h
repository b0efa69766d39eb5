#include "peer/command/g.h"
