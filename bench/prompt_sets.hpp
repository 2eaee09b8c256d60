// Real few-shot prompts for benchmarks: BBH, MMLU and GSM8K, 8 examples each, as evaluation
// harnesses send them. Read from the data sets as their authors publish them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/units.hpp"
#include "model/tokenizer.hpp"

namespace tandem::bench {

struct FewShotPrompt {
  std::string family;  ///< the task or subject whose examples it begins with
  std::vector<TokenId> tokens;
  Tokens answer{1};  ///< how long its answer is
};

/// All prompts under `data`, family by family; empty if a data set is absent. Examples are:
///   bbh    the 3 worked ones of the task's CoT prompt and the first 5 questions with their
///   answers;
///          answers are as long as the worked ones on average
///   mmlu   the subject's 5 development questions and the first 3 test questions; answer: a letter
///   gsm8k  the first 8 training questions; answers are as long as the reference solution
std::vector<FewShotPrompt> few_shot_prompts(const std::filesystem::path& data,
                                            const model::Tokenizer& tokenizer);

}  // namespace tandem::bench
