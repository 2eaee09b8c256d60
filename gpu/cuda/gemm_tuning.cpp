// See gemm_tuning.hpp.
#include "gpu/cuda/gemm_tuning.hpp"

#include <charconv>
#include <cstdio>
#include <vector>

namespace tandem::gpu::cuda {
namespace {

constexpr std::string_view first_line = "tandem gemm tuning 2";
constexpr std::size_t max_lines = 1 << 16;
constexpr std::int64_t max_size = 1LL << 30;
constexpr std::string_view output_names[] = {"bf16", "f32", "f32_added"};

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const auto end = line.find(' ');
    const auto word = line.substr(0, end);
    if (!word.empty()) words.push_back(word);
    line = end == std::string_view::npos ? std::string_view() : line.substr(end + 1);
  }
  return words;
}

template <class T>
bool read(std::string_view word, T& value, int base = 10) {
  const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value, base);
  return status == std::errc() && end == word.data() + word.size();
}

bool read_double(std::string_view word, double& value) {
  const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value);
  return status == std::errc() && end == word.data() + word.size() && value >= 0;
}

constexpr std::string_view own_word = "own";

struct TunedLine {
  GemmKey key;
  TunedGemm choice;  ///< if it is not our own kernel
  bool own = false;
};

/// rows n k output; then eight words of the algorithm and bytes of workspace, or `own`; then
/// microseconds.
bool read_line(std::string_view line, TunedLine& read_into) {
  auto& [key, choice, own] = read_into;
  const auto words = words_of(line);
  own = words.size() == 6 && words[4] == own_word;
  if (!own && words.size() != 4 + choice.algorithm.size() + 2) return false;
  for (const auto& [word, value] :
       {std::pair(words[0], &key.rows), std::pair(words[1], &key.n), std::pair(words[2], &key.k)})
    if (!read(word, *value) || *value < 1 || *value > max_size) return false;
  std::size_t output = 0;
  while (output < 3 && output_names[output] != words[3]) ++output;
  if (output == 3) return false;
  key.output = static_cast<GemmOutput>(output);
  if (own) return read_double(words[5], choice.microseconds);
  for (std::size_t i = 0; i < choice.algorithm.size(); ++i)
    if (!read(words[4 + i], choice.algorithm[i], 16)) return false;
  return read(words[12], choice.workspace_bytes) && read_double(words[13], choice.microseconds);
}

Error wrong(const std::string& file, std::size_t line, const std::string& what) {
  return error(Errc::invalid_value, file + ", line " + std::to_string(line) + ": " + what,
               "gemm_tuning_file");
}

std::string shape_text(const GemmKey& key) {
  return std::to_string(key.rows) + " " + std::to_string(key.n) + " " + std::to_string(key.k) +
         " " + std::string(output_names[static_cast<std::size_t>(key.output)]);
}

std::string head_text(std::string_view device, std::uint64_t library) {
  return "device '" + std::string(device) + "' and library version " + std::to_string(library);
}

}  // namespace

std::string to_text(const GemmTuning& tuning) {
  std::string text = std::string(first_line) + "\ndevice " + tuning.device + "\nlibrary " +
                     std::to_string(tuning.library) + "\n";
  char word[64];
  for (const auto& [key, choice] : tuning.choices) {
    text += shape_text(key);
    for (const auto part : choice.algorithm) {
      std::snprintf(word, sizeof word, " %llx", static_cast<unsigned long long>(part));
      text += word;
    }
    std::snprintf(word, sizeof word, " %.3f\n", choice.microseconds);
    text += " " + std::to_string(choice.workspace_bytes) + word;
  }
  for (const auto& [key, microseconds] : tuning.own) {
    std::snprintf(word, sizeof word, " %.3f\n", microseconds);
    text += shape_text(key) + " " + std::string(own_word) + word;
  }
  return text;
}

Result<GemmTuning> parse_tuning(std::string_view text, const std::string& file) {
  GemmTuning tuning;
  std::size_t number = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (++number > max_lines)
      return wrong(file, number, "allowed are " + std::to_string(max_lines) + " lines");
    if (number == 1) {
      if (line != first_line)
        return wrong(file, 1,
                     "must be '" + std::string(first_line) + "'; gpu_check gemm-tune writes it");
    } else if (number == 2) {
      if (!line.starts_with("device ")) return wrong(file, 2, "must be 'device' and its name");
      tuning.device = line.substr(7);
    } else if (number == 3) {
      if (!line.starts_with("library ") || !read(line.substr(8), tuning.library))
        return wrong(file, 3, "must be 'library' and its version, a number");
    } else {
      TunedLine entry;
      if (!read_line(line, entry))
        return wrong(
            file, number,
            "must be rows, n and k (1 to 2^30), the output (bf16, f32 or f32_added), eight "
            "hexadecimal words and bytes of workspace or 'own', and microseconds");
      if (tuning.choices.contains(entry.key) || tuning.own.contains(entry.key))
        return wrong(file, number, "this shape is in the file already");
      if (entry.own)
        tuning.own.emplace(entry.key, entry.choice.microseconds);
      else
        tuning.choices.emplace(entry.key, entry.choice);
    }
  }
  if (number < 3) return wrong(file, number + 1, "is missing: the head has three lines");
  return tuning;
}

Result<void> check_tuning(const GemmTuning& tuning, const std::string& device,
                          std::uint64_t library, const std::string& file) {
  if (tuning.device == device && tuning.library == library) return {};
  return error(Errc::invalid_value,
               file + " was measured with " + head_text(tuning.device, tuning.library) +
                   "; here are " + head_text(device, library),
               "gemm_tuning_file");
}

}  // namespace tandem::gpu::cuda
