/* unsafe_calls.c -- the same check for the whole server, in builds that are
 * made for testing (MOONWIRE_CHECKED). */
#include "support/unsafe_calls.h"
