#include "service_records.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <resolv.h>
#include <string.h>

// Longest answer of a resolver that is read: what TCP can carry.
enum { answer_bytes_max = 65535 };

int clinux_service_records(const char *name, struct clinux_service_record *records, int records_max) {
    static __thread unsigned char answer[answer_bytes_max];
    // A state of its own: the configuration is read anew at each call, and threads share nothing.
    struct __res_state state;
    memset(&state, 0, sizeof state);
    if (res_ninit(&state) != 0) return -NO_RECOVERY;
    int length = res_nquery(&state, name, ns_c_in, ns_t_srv, answer, sizeof answer);
    int failure = state.res_h_errno;
    res_nclose(&state);
    if (length < 0) return failure > 0 ? -failure : -TRY_AGAIN;
    ns_msg message;
    if (length > (int)sizeof answer || ns_initparse(answer, length, &message) != 0) return -NO_RECOVERY;
    int count = 0;
    for (int index = 0; index < ns_msg_count(message, ns_s_an) && count < records_max; index++) {
        ns_rr record;
        if (ns_parserr(&message, ns_s_an, index, &record) != 0) return -NO_RECOVERY;
        // Priority, weight and port, two bytes each, then the target: RFC 2782.
        if (ns_rr_type(record) != ns_t_srv || ns_rr_rdlen(record) < 7) continue;
        const unsigned char *data = ns_rr_rdata(record);
        struct clinux_service_record *found = &records[count];
        found->priority = ns_get16(data);
        found->weight = ns_get16(data + 2);
        found->port = ns_get16(data + 4);
        int expanded = dn_expand(ns_msg_base(message), ns_msg_end(message), data + 6, found->target, sizeof found->target);
        // A target of one dot says that the service is not there.
        if (expanded < 0 || found->target[0] == 0 || strcmp(found->target, ".") == 0) continue;
        count++;
    }
    return count;
}

const char *clinux_resolver_error(int code) { return hstrerror(-code); }
