// Asio's coroutine type, and what GCC 12 gets wrong about it: one warning (below), and, worse,
// `if (!co_await x) co_return false;` in an awaitable<bool>, which is compiled to a frame that
// cannot be resumed (seen with 12.2: the resume pointer lands at offset 8). Name the awaited bool
// first.
#pragma once

#include <boost/asio/awaitable.hpp>

// awaitable's frames come from its own operator new and go to its own operator delete; GCC 12 loses
// sight of that when it inlines one of the two. Reported where the coroutine ends,
// so the switch cannot be local.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
