// Which requests a load test sends, and when: fixed before the first one is sent, a function of the
// options and the seed alone, so that a run can be repeated.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"
#include "core/units.hpp"

namespace tandem::client {

/// A number of tokens, drawn evenly from [least, most].
struct Length {
  std::int64_t least = 0;
  std::int64_t most = 0;
};
/// "128" or "64:256"; 1 .. 1048576.
Result<Length> parse_length(std::string_view text);

struct Arrival {
  double seconds = 0;  ///< since the start
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
};

struct ArrivalOptions {
  double rate = 1;          ///< requests per second; infinity: all at once
  std::size_t count = 100;  ///< at most so many
  double duration = 0;      ///< seconds; 0: until `count`
  Length input{128, 128}, output{64, 64};
  std::uint64_t seed = 0;
};
/// A Poisson process: gaps are exponential with mean 1/rate.
std::vector<Arrival> poisson_arrivals(const ArrivalOptions& options);

/// A CSV with a header and the columns arrival, prompt tokens, output tokens: arrivals are seconds
/// or timestamps "YYYY-MM-DD hh:mm:ss.fffffff" (the format of the Azure LLM inference traces).
/// Times are made relative to the first row and divided by `speed`. Errors name file and line.
Result<std::vector<Arrival>> read_trace(const std::filesystem::path& file, std::size_t count,
                                        double speed);

/// Token ids 0 .. vocab_size - 1, of which the first `shared` are the same for equal seeds (a
/// prefix that the service may have cached).
std::vector<TokenId> random_prompt(std::uint64_t seed, std::uint64_t index, std::int64_t length,
                                   std::int64_t shared, std::int64_t vocab_size);

/// The non-empty lines of a text file, at most 64 MiB of them.
Result<std::vector<std::string>> read_prompts(const std::filesystem::path& file);

}  // namespace tandem::client
