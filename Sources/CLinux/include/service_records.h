#pragma once
#include <stdint.h>

struct clinux_service_record {
    uint16_t priority;
    uint16_t weight;
    uint16_t port;
    char target[256];
};

// Asks the system's resolver for the SRV records of a name; blocks. The number of records written to `records`, at most
// `records_max`, or the negative code of netdb.h (HOST_NOT_FOUND, TRY_AGAIN, NO_RECOVERY, NO_DATA).
int clinux_service_records(const char *name, struct clinux_service_record *records, int records_max);

// The resolver's own words for a negative code.
const char *clinux_resolver_error(int code);
