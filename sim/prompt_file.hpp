// Real prompts from files of several forms, as text. A service is sent them as they are; for a
// simulation they become token ids by the tokenizer of a model.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/result.hpp"

namespace tandem::sim {

/// The prompts of a file, by its name: .jsonl has an object per line, .json one object with a list
/// `examples` of objects (BIG-Bench Hard), whose prompt is the text of the first field there is of
/// prompt, input, question; .csv has the prompt in its first column, without a header (MMLU); of
/// any other file each line is one. Lines without text are skipped. At most 64 MiB.
Result<std::vector<std::string>> read_prompts(const std::filesystem::path& file);

/// Puts the whole text of `file` (at most 1 MiB) before each prompt: worked examples that all
/// share.
Result<void> put_before(const std::filesystem::path& file, std::vector<std::string>& prompts);

}  // namespace tandem::sim
