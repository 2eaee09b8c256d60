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

std::mt19937_64& random_engine() {
  thread_local std::mt19937_64 engine = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device(),
                       device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return engine;
}

constexpr std::string_view id_alphabet = "0123456789abcdefghijklmnopqrstuvwxyz";

/// Appends `count` random characters of `alphabet`.
void append_random(std::string& text, std::string_view alphabet, std::size_t count) {
  std::uniform_int_distribution<std::size_t> pick(0, alphabet.size() - 1);
  for (std::size_t i = 0; i < count; ++i) text += alphabet[pick(random_engine())];
}

}  // namespace

std::string random_id(std::string_view prefix) {
  std::string id(prefix);
  append_random(id, id_alphabet, 24);
  return id;
}

std::string random_hex(std::size_t digits) {
  std::string text;
  append_random(text, "0123456789abcdef", digits);
  if (text.find_first_not_of('0') == text.npos) text.back() = '1';
  return text;
}

std::string random_padding(std::size_t bytes) {
  constexpr std::size_t multiple = 64;
  std::string text;
  append_random(text, id_alphabet, multiple - bytes % multiple);
  return text;
}

bool is_valid_request_id(std::string_view text) { return is_name(text, 128); }
bool is_valid_stream_id(std::string_view text) { return is_name(text, 256); }

}  // namespace tandem::api
