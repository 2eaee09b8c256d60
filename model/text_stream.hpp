// Token ids of one choice into the text its reader sees: incremental detokenization and stop
// strings. The deltas concatenated equal the decoded whole; no half UTF-8 character and no part of
// a stop string ever leaves.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/units.hpp"
#include "model/tokenizer.hpp"

namespace tandem::model {

class TextStream {
 public:
  /// `stop`: strings that end the text; cut off unless `include_stop`. `shown`: special tokens that
  /// are part of the text nevertheless. `place`: of the first token.
  TextStream(TokenizerPtr tokenizer, std::vector<std::string> stop, bool include_stop,
             std::vector<TokenId> shown = {}, TextPlace place = TextPlace::start);

  /// The text that became certain with `token` (often empty). Nothing more comes once `stopped()`.
  std::string push(TokenId token);
  /// What was held back, at the end of the generation; incomplete bytes become U+FFFD.
  std::string finish();
  /// A stop string was met.
  [[nodiscard]] bool stopped() const { return stopped_; }
  /// Bytes of text that the tokens so far have become, whether they have left or not.
  [[nodiscard]] std::size_t decoded_bytes() const { return decoded_bytes_; }

 private:
  std::string release(bool at_end);

  TokenizerPtr tokenizer_;
  TextDecoder decoder_;
  std::vector<std::string> stop_;
  bool include_stop_ = false;
  bool stopped_ = false;
  std::size_t decoded_bytes_ = 0;
  std::string held_;  ///< complete text that may be the beginning of a stop string
};

}  // namespace tandem::model
