// A tiktoken rank file as a tokenizer.json, so that published vocabularies in that form can be
// tested. The merges are found again: a token is made of the two parts that its bytes merge to when
// only lower ranks are known.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

namespace tandem::tests {

inline std::string from_base64(const std::string& text) {
  std::string bytes;
  unsigned buffer = 0;
  int bits = 0;
  for (const char c : text) {
    const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const std::size_t digit = digits.find(c);
    if (digit == std::string::npos) break;
    buffer = (buffer << 6) | static_cast<unsigned>(digit);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes.push_back(static_cast<char>((buffer >> bits) & 0xFFU));
    }
  }
  return bytes;
}

/// Bytes in the printable alphabet of byte-level tokenizers.
inline std::string printable(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    unsigned code = byte;
    if (byte <= 0x20) code = 0x100U + byte;
    if (byte >= 0x7F && byte <= 0xA0) code = 0x121U + (byte - 0x7FU);
    if (byte == 0xAD) code = 0x143U;
    if (code < 0x80) {
      text.push_back(static_cast<char>(code));
    } else {
      text.push_back(static_cast<char>(0xC0U | (code >> 6)));
      text.push_back(static_cast<char>(0x80U | (code & 0x3FU)));
    }
  }
  return text;
}

using Ranks = std::unordered_map<std::string, int>;

/// The parts that `token` is merged to by the ranks below its own.
inline std::vector<std::string> parts_below(const Ranks& ranks, const std::string& token) {
  const int own = ranks.at(token);
  std::vector<std::string> parts;
  for (const char c : token) parts.emplace_back(1, c);
  while (parts.size() > 2) {
    int best = own;
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found != ranks.end() && found->second < best) {
        best = found->second;
        place = i;
      }
    }
    if (best == own) break;
    parts[place] += parts[place + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
  return parts;
}

/// Writes folder/tokenizer.json. `normalizer`: JSON; `pattern`: the Split expression.
inline void write_tokenizer_json(const std::filesystem::path& folder, const std::string& rank_file,
                                 const std::string& normalizer, const std::string& pattern) {
  Ranks ranks;
  std::vector<std::string> tokens;
  std::istringstream lines(rank_file);
  std::string encoded;
  for (int rank = 0; lines >> encoded >> rank;) {
    REQUIRE(rank == static_cast<int>(tokens.size()));
    tokens.push_back(from_base64(encoded));
    ranks.emplace(tokens.back(), rank);
  }
  boost::json::object vocab;
  boost::json::array merges;
  for (const auto& token : tokens) {
    vocab[printable(token)] = ranks.at(token);
    if (token.size() < 2) continue;
    const auto parts = parts_below(ranks, token);
    // A few tokens are only ever whole words: no merges lead to them.
    if (parts.size() == 2)
      merges.push_back(boost::json::array{printable(parts[0]), printable(parts[1])});
  }
  std::ofstream out(folder / "tokenizer.json", std::ios::binary);
  const boost::json::object split{{"type", "Split"},
                                  {"pattern", {{"Regex", pattern}}},
                                  {"behavior", "Isolated"},
                                  {"invert", false}};
  const boost::json::object byte_level{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const boost::json::object root{
      {"normalizer", boost::json::parse(normalizer)},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"ignore_merges", true}, {"vocab", vocab}, {"merges", merges}}}};
  out << boost::json::serialize(root) << "\n";
  REQUIRE(out.good());
}

}  // namespace tandem::tests
