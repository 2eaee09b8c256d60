// See ids.hpp.
#include "api/ids.hpp"

#include <algorithm>
#include <random>

namespace tandem::api {
namespace {

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_name(std::string_view text, std::size_t max) {
  return !text.empty() && text.size() <= max && std::all_of(text.begin(), text.end(), [](char c) {
    return is_word(c) || c == '.' || c == '_' || c == '-';
  });
}

}  // namespace

std::string random_id(std::string_view prefix) {
  static constexpr std::string_view alphabet = "0123456789abcdefghijklmnopqrstuvwxyz";
  thread_local std::mt19937_64 engine = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device(),
                       device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  std::uniform_int_distribution<std::size_t> pick(0, alphabet.size() - 1);
  std::string id(prefix);
  for (int i = 0; i < 24; ++i) id += alphabet[pick(engine)];
  return id;
}

bool is_valid_request_id(std::string_view text) { return is_name(text, 128); }
bool is_valid_stream_id(std::string_view text) { return is_name(text, 256); }

}  // namespace tandem::api
