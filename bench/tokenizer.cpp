// Throughput of encoding and decoding on one thread, in processor time: a model folder's tokenizer
// over a text file, cut into documents. One line of JSON, so that bench/tokenizer.py can set it
// beside the reference. The best pass counts, which finds the words of the one before in its cache;
// with SECONDS 0 there is one pass, and nothing was known before it.
//   usage: bench_tokenizer FOLDER FILE [DOCUMENT_BYTES [SECONDS]]
#include "model/tokenizer.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "model/utf8.hpp"

namespace {

using tandem::TokenId;

/// The processor's time of this process, which has one thread: other programs do not count.
double cpu_seconds() { return static_cast<double>(std::clock()) / double{CLOCKS_PER_SEC}; }

/// `text` in documents of about `bytes`, cut between characters.
std::vector<std::string> documents_of(const std::string& text, std::size_t bytes) {
  std::vector<std::string> documents;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = std::min(at + bytes, text.size());
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) ++end;
    documents.push_back(text.substr(at, end - at));
    at = end;
  }
  return documents;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: bench_tokenizer FOLDER FILE [DOCUMENT_BYTES [SECONDS]]\n");
    return 2;
  }
  const double begin_load = cpu_seconds();
  const auto tokenizer = tandem::model::load_tokenizer(argv[1]);
  if (!tokenizer) {
    std::fprintf(stderr, "%s\n", tokenizer.error().message.c_str());
    return 2;
  }
  const double load = cpu_seconds() - begin_load;
  std::ifstream in(argv[2], std::ios::binary);
  const std::string text = tandem::model::well_formed(
      std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()));
  const auto documents = documents_of(text, argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 16384);
  const double limit = argc > 4 ? std::strtod(argv[4], nullptr) : 3;

  // Whole passes over the text; the best one counts, as the reference's does.
  double best = 1e30;
  double slowest_document = 0;
  std::size_t tokens = 0;
  std::vector<std::vector<TokenId>> encoded(documents.size());
  const double begin = cpu_seconds();
  do {
    const double pass = cpu_seconds();
    slowest_document = 0;
    for (std::size_t i = 0; i < documents.size(); ++i) {
      const double one = cpu_seconds();
      encoded[i] = (*tokenizer)->encode(documents[i], true, true);
      slowest_document = std::max(slowest_document, cpu_seconds() - one);
    }
    best = std::min(best, cpu_seconds() - pass);
  } while (cpu_seconds() - begin < limit);
  double decoding = 1e30;
  std::size_t decoded = 0;
  for (int pass = 0; pass < 3; ++pass) {
    decoded = 0;
    tokens = 0;
    const double one = cpu_seconds();
    for (const auto& ids : encoded) {
      decoded += (*tokenizer)->decode(ids).size();
      tokens += ids.size();
    }
    decoding = std::min(decoding, cpu_seconds() - one);
  }
  std::printf(
      "{\"load_ms\": %.0f, \"bytes\": %zu, \"documents\": %zu, \"tokens\": %zu, "
      "\"encode_mb_s\": %.2f, \"slowest_document_ms\": %.2f, \"decode_mb_s\": %.2f, "
      "\"decoded_bytes\": %zu}\n",
      load * 1e3, text.size(), documents.size(), tokens,
      static_cast<double>(text.size()) / best / 1e6, slowest_document * 1e3,
      static_cast<double>(text.size()) / decoding / 1e6, decoded);
  return 0;
}
