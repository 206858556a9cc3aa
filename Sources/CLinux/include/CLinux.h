#pragma once
#include "CLinuxProcess.h"
#include "filesystem.h"
#include "open_beneath.h"
#include "overlay.h"
#include "service_records.h"
