#include "peer/d.h"
