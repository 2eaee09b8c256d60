// Rank files (*.tiktoken, and Llama 3's tokenizer.model): one "base64 rank" a line. They hold no
// split pattern and no special tokens; those are known here for the families that ship such files.
// Internal to model/.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "core/result.hpp"

namespace tandem::model {

/// The text begins as a rank file does.
bool is_rank_file(std::string_view text);

/// The tokenizer.json that says the same. The family is told by the number of ranks; others are
/// refused by that number.
Result<boost::json::object> tokenizer_of_rank_file(std::string_view text, const std::string& where);

}  // namespace tandem::model
