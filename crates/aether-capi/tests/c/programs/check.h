// What the test programs have in common. A check that fails says where and ends the program.

#ifndef CHECK_H
#define CHECK_H

#include <aether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition,                  \
                    aether_last_error()->message);                                                                    \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

#define OK(call) STATUS(AETHER_STATUS_OK, call)

#define STATUS(expected, call)                                                                                        \
    do {                                                                                                              \
        const aether_status status_ = (call);                                                                         \
        if (status_ != (expected)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s is %d, not %s (last error: %s)\n", __FILE__, __LINE__, #call, (int)status_,    \
                    #expected, aether_last_error()->message);                                                         \
            exit(1);                                                                                                  \
        }                                                                                                             \
        if (status_ != AETHER_STATUS_OK) {                                                                            \
            CHECK(aether_last_error()->status == status_);                                                            \
        }                                                                                                             \
    } while (0)

#endif
