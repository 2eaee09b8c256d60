// Asio's coroutine type, and the one warning that GCC 12 gets wrong about it.
#pragma once

#include <boost/asio/awaitable.hpp>

// awaitable's frames come from its own operator new and go to its own operator delete; GCC 12 loses
// sight of that when it inlines one of the two. Reported where the coroutine ends,
// so the switch cannot be local.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
