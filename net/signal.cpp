#include "net/signal.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace tandem::net {

boost::asio::awaitable<void> Signal::wait(SteadyTime deadline) {
  if (!raised_) {
    boost::system::error_code ignored;
    timer_.expires_at(deadline);
    co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }
  raised_ = false;
}

}  // namespace tandem::net
